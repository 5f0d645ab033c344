"""OpenAPI and /docs: complete, tried as they stand, and served without the internet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.unit.api.conftest import Pod


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            if key == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from references(item)


async def test_every_reference_in_the_document_leads_somewhere(pod: Pod) -> None:
    document = await pod.get("/openapi.json")
    names = set(references(document))
    assert "#/components/schemas/WorkflowDefinition" in names
    for name in names:
        target: Any = document
        for part in name.removeprefix("#/").split("/"):
            target = target[part]
        assert isinstance(target, dict)


async def test_every_route_says_what_it_answers_and_how_it_refuses(pod: Pod) -> None:
    document = await pod.get("/openapi.json")
    assert sorted(document["paths"]) == [
        "/access",
        "/healthz",
        "/metrics",
        "/pods",
        "/readyz",
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/cancel",
        "/runs/{run_id}/definition",
        "/runs/{run_id}/events",
        "/runs/{run_id}/explain",
        "/runs/{run_id}/logs",
        "/runs/{run_id}/tasks",
        "/runs/{run_id}/tasks/{task_id}",
        "/tasks",
        "/workflow",
        "/workflow_status/{run_id}",
    ]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for status, response in operation["responses"].items():
                (media_type, content), *others = response["content"].items()
                if (path, status) == ("/metrics", "200"):
                    assert [media_type, *(other for other, _ in others)] == ["text/plain", "application/openmetrics-text"]
                    continue
                assert not others
                problem = int(status) >= 400 and path != "/readyz"
                assert media_type == ("application/problem+json" if problem else "application/json"), (path, status)
                assert content["schema"].get("$ref", "").endswith("/ProblemDocument") == problem, (path, status)
    assert "HTTPValidationError" not in json.dumps(document)


async def test_the_examples_can_be_tried_as_they_are(pod: Pod) -> None:
    document = await pod.get("/openapi.json")
    examples = document["paths"]["/workflow"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 3
    for example in examples.values():
        assert (await pod.post(example["value"], "/workflow?dry_run=true")).status_code == 200, example
        assert (await pod.post(example["value"])).status_code == 202, example


async def test_the_page_and_all_that_it_loads_come_from_the_pod(pod: Pod) -> None:
    response = await pod.client.get("/docs")
    assert response.status_code == 200
    page = response.text
    assert "//" not in page.replace("<!doctype", "")
    assert "<script>" not in page
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(loaded) == {"data:,", "docs/swagger-ui.css", "docs/swagger-ui.js", "docs/start.js", "openapi.json"}
    for path in loaded[1:]:
        asset = await pod.client.get(f"/{path}")
        assert asset.status_code == 200, path
        assert asset.headers["x-content-type-options"] == "nosniff"


async def test_the_page_s_policy_lets_nothing_in_from_outside(pod: Pod) -> None:
    policy = (await pod.client.get("/docs")).headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize(
    ("name", "media_type"), [("swagger-ui.js", "text/javascript"), ("swagger-ui.css", "text/css"), ("start.js", "text/javascript")]
)
async def test_assets_have_their_type_and_may_be_kept(pod: Pod, name: str, media_type: str) -> None:
    response = await pod.client.get(f"/docs/{name}")
    assert response.headers["content-type"].startswith(media_type)
    assert response.headers["cache-control"] == "public, max-age=3600"


async def test_asking_for_a_range_gives_the_whole(pod: Pod) -> None:
    whole = await pod.client.get("/docs/swagger-ui.css")
    part = await pod.client.get("/docs/swagger-ui.css", headers={"Range": "bytes=0-0,1-1,2-2"})
    assert (part.status_code, len(part.content)) == (200, len(whole.content))


@pytest.mark.parametrize("path", ["/docs/../settings.py", "/docs/%2e%2e/x", "/docs/redoc.standalone.js", "/redoc", "/docs/"])
async def test_nothing_else_is_served(pod: Pod, path: str) -> None:
    await pod.refused("GET", path, 404)
