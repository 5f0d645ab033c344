"""`GET /metrics`, and what is told of requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from peerflow.api import create_app
from peerflow.api.measured import Measured
from peerflow.settings import Settings
from tests.support.canned_store import RUN_ID, CannedStore
from tests.unit.api.conftest import Pod, Recorder


@dataclass
class Counting:
    """A pod's API that tells of its requests, and what it has told."""

    store: CannedStore = field(default_factory=CannedStore)
    told: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    seconds: list[float] = field(default_factory=list[float])
    accepts: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.app: FastAPI = create_app(
            self.store.as_store(),
            settings=Settings.model_validate({"debug": True}),
            readiness=lambda: (True, "ok", {}),
            function_names=frozenset({"task_a"}),
            publisher=Recorder(),
            scrape=self._scrape,
            on_request=self._on_request,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://pod")

    async def _scrape(self, accept: str) -> tuple[bytes, str]:
        self.accepts.append(accept)
        return b"peerflow_ready 1.0\n", "text/plain; version=0.0.4; charset=utf-8"

    def _on_request(self, method: str, route: str, status: str, seconds: float) -> None:
        self.told.append((method, route, status))
        self.seconds.append(seconds)


@pytest.fixture
async def counting() -> AsyncGenerator[Counting]:
    made = Counting()
    async with made.client:
        yield made


async def test_metrics_are_answered_as_they_come_and_for_what_is_accepted(counting: Counting) -> None:
    response = await counting.client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert (response.status_code, response.content) == (200, b"peerflow_ready 1.0\n")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert counting.accepts == ["application/openmetrics-text"]


async def test_a_pod_that_counts_nothing_says_so(pod: Pod) -> None:
    document = await pod.refused("GET", "/metrics", 404)
    assert document.type == "urn:peerflow:problem:metrics-off"


async def test_requests_are_told_by_route_and_never_by_path(counting: Counting) -> None:
    await counting.client.get("/healthz")
    await counting.client.head("/healthz")
    await counting.client.get(f"/runs/{RUN_ID}")
    await counting.client.get("/runs/nonsense")
    await counting.client.post("/workflow", json={"tasks": {"a": {"task": "task_a"}}})
    await counting.client.post("/workflow", content=b"{")
    await counting.client.delete("/healthz")
    await counting.client.get("/docs")
    await counting.client.get("/openapi.json")
    await counting.client.request("BREW", "/pot")
    assert counting.told == [
        ("GET", "/healthz", "200"),
        ("GET", "/healthz", "200"),
        ("GET", "/runs/{run_id}", "404"),
        ("GET", "/runs/{run_id}", "404"),
        ("POST", "/workflow", "202"),
        ("POST", "/workflow", "415"),
        ("DELETE", "/healthz", "405"),
        ("GET", "other", "200"),
        ("GET", "other", "200"),
        ("other", "unmatched", "404"),
    ]
    assert all(0 < seconds < 60 for seconds in counting.seconds)


async def test_a_thousand_paths_that_nobody_knows_are_one_series(counting: Counting) -> None:
    for number in range(1000):
        await counting.client.get(f"/nothing/{number}")
    assert Counter(counting.told) == {("GET", "unmatched", "404"): 1000}


async def test_a_request_that_fails_unforeseen_is_told_with_the_status_that_it_gets(counting: Counting) -> None:
    counting.store.failing = RuntimeError("nobody foresaw this")
    response = await counting.client.get("/pods")
    assert response.status_code == 500
    assert counting.told == [("GET", "/pods", "500")]


async def test_each_route_of_the_api_has_its_template_as_label(counting: Counting) -> None:
    paths = (await counting.client.get("/openapi.json")).json()["paths"]
    counting.told.clear()
    for path, operations in paths.items():
        for method in operations:
            await counting.client.request(method, path.replace("{", "x").replace("}", ""))
    assert {(method, route) for method, route, _ in counting.told} == {
        (method.upper(), path) for path, operations in paths.items() for method in operations
    }


async def test_what_is_no_request_passes_by() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    def refuse(*_: object) -> None:
        raise AssertionError("it was told as a request")

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await Measured(app, refuse)({"type": "lifespan"}, receive, send)
    assert passed == ["lifespan"]
