"""Problem documents: every error has its status, says what to do, and tells nothing of the pod's inside."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from engine.errors import (
    DefinitionError,
    IdempotencyConflict,
    LeaseLost,
    PeerflowError,
    Problem,
    RunAlreadyFinished,
    RunNotFound,
    StorageCorrupt,
    StorageRefused,
    StorageUnavailable,
    TaskNotFound,
)
from peerflow.api import create_app
from peerflow.api.outermost import Outermost
from peerflow.api.problem import LONGEST_TEXT, TITLES
from peerflow.api.refusals import refusal_of
from peerflow.logging import RequestFailed
from peerflow.settings import Settings
from tests.support.canned_store import RUN_ID, CannedStore
from tests.unit.api.conftest import Pod, Recorder

STATUSES: list[tuple[PeerflowError, int, str]] = [
    (DefinitionError([Problem("cycle", "", "cycle: a → a", "break it")]), 422, "definition-invalid"),
    (RunNotFound(RUN_ID), 404, "run-not-found"),
    (TaskNotFound(RUN_ID, "a"), 404, "task-not-found"),
    (RunAlreadyFinished(RUN_ID, "failed"), 409, "run-finished"),
    (IdempotencyConflict("k", RUN_ID), 422, "idempotency-conflict"),
    (StorageUnavailable("redis://host", "refused"), 503, "storage-unavailable"),
    (StorageRefused("MISCONF errors writing to disk"), 503, "storage-refused"),
    (StorageRefused("OOM command not allowed"), 507, "storage-full"),
    (StorageCorrupt("record of task a"), 500, "storage-corrupt"),
    (LeaseLost("c"), 500, "internal-error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), STATUSES, ids=[f"{type(error).__name__}-{status}" for error, status, _ in STATUSES])
def test_each_error_has_its_status_and_kind(error: PeerflowError, status: int, kind: str) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, refusal.kind) == (status, kind)
    assert kind in TITLES
    assert refusal.response().status_code == status
    assert all(problem.remedy for problem in refusal.problems)


@pytest.mark.parametrize(
    ("error", "status"), [(StorageUnavailable("redis://h", "x"), 503), (StorageRefused("MISCONF"), 503), (StorageRefused("OOM"), 507)]
)
async def test_a_call_that_may_work_later_says_when_to_try_again(pod: Pod, error: Exception, status: int) -> None:
    pod.store.failing = error
    response = await pod.client.get(f"/runs/{RUN_ID}")
    assert response.status_code == status
    assert int(response.headers["retry-after"]) > 0


async def test_an_unreachable_redis_is_named_without_its_password(pod: Pod) -> None:
    pod.store.failing = StorageUnavailable("redis://host:6379", "connection refused")
    problem = await pod.refused("GET", "/pods", 503)
    assert problem.detail == "cannot reach redis://host:6379: connection refused"


async def test_an_unknown_address_is_a_problem_document(pod: Pod) -> None:
    problem = await pod.refused("GET", "/nope", 404)
    assert problem.type == "urn:peerflow:problem:route-not-found"
    assert problem.errors[0].remedy == "GET /docs lists every address"


async def test_a_slash_at_the_end_is_no_redirect_but_a_remedy(pod: Pod) -> None:
    problem = await pod.refused("GET", "/runs/", 404)
    assert problem.errors[0].remedy.startswith("leave out the slash at the end")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/workflow", "POST"),
        ("HEAD", "/workflow", "POST"),
        ("DELETE", "/runs", "GET"),
        ("PUT", f"/runs/{RUN_ID}", "GET"),
        ("GET", f"/runs/{RUN_ID}/cancel", "POST"),
        ("POST", "/healthz", "GET"),
        ("BREW", "/docs", "GET"),
        ("OPTIONS", "/workflow", "POST"),
    ],
)
async def test_a_wrong_method_is_refused_with_the_right_one(pod: Pod, method: str, path: str, allowed: str) -> None:
    response = await pod.client.request(method, path)
    assert response.status_code == 405
    assert allowed in response.headers["allow"]
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/runs", "/pods"])
async def test_head_is_get_without_the_body(pod: Pod, path: str) -> None:
    get, head = await pod.client.get(path), await pod.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))


async def test_an_unknown_address_has_no_body_for_head_either(pod: Pod) -> None:
    head = await pod.client.head("/nope")
    assert (head.status_code, head.content) == (404, b"")


async def test_an_unforeseen_error_tells_the_caller_nothing_but_an_id_for_the_log(pod: Pod) -> None:
    pod.store.failing = RuntimeError("secret of the pod")
    problem = await pod.refused("GET", "/pods", 500)
    (event,) = pod.recorder.events
    assert isinstance(event, RequestFailed)
    assert event.error is pod.store.failing
    assert event.error_id in problem.detail
    assert "secret" not in problem.model_dump_json()


async def test_half_an_answer_is_cut_off_not_ended() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    recorder = Recorder()
    with pytest.raises(RuntimeError):
        await Outermost(breaks, recorder)({"type": "http", "method": "GET", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert len(recorder.events) == 1


async def test_the_lifespan_given_to_the_application_is_run() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        seen.append(app.title)
        yield
        seen.append("end")

    app = create_app(
        CannedStore().as_store(),
        settings=Settings(),
        readiness=lambda: (True, "", {}),
        function_names=(),
        publisher=Recorder(),
        lifespan=lifespan,
    )
    async with app.router.lifespan_context(app):
        assert seen == ["peerflow"]
    assert seen == ["peerflow", "end"]


@pytest.mark.parametrize("path", ["/pods", "/nope", "/docs", "/healthz", "/runs?limit=0"])
async def test_every_answer_carries_headers_for_safety(pod: Pod, path: str) -> None:
    headers = (await pod.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


async def test_what_was_sent_is_quoted_in_part_only(pod: Pod) -> None:
    problem = await pod.refused("GET", f"/{'x' * 20_000}", 404)
    assert len(problem.detail) <= LONGEST_TEXT + 1


@pytest.mark.parametrize(
    "run_id", ["x", "a%0d%0ab", "%1b[31m", "..%2f..", RUN_ID.upper(), RUN_ID[:-1], "01890a5d-ac96-474b-bcce-b302099a8057", "é"]
)
async def test_what_cannot_be_a_run_id_never_reaches_the_store(pod: Pod, run_id: str) -> None:
    for path in (f"/runs/{run_id}", f"/workflow_status/{run_id}", f"/runs/{run_id}/tasks", f"/runs/{run_id}/events"):
        await pod.refused("GET", path, 404)
    await pod.refused("POST", f"/runs/{run_id}/cancel", 404)
    assert pod.store.calls == []
