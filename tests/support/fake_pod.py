"""Pods without sockets: httpx's transport answers from a table, so that the client and the command line are tested as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from pydantic import JsonValue

Answer = httpx.Response | Callable[[httpx.Request], httpx.Response]
RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
CREATED_AT = "2026-01-01T00:00:00.000Z"


def run_json(status: str = "running", **fields: JsonValue) -> dict[str, JsonValue]:
    """A run object of the API with three tasks, `fields` laid over it."""
    counts: JsonValue = {"succeeded": 3} if status == "succeeded" else {"running": 1, "pending": 2}
    run: dict[str, JsonValue] = {"run_id": RUN_ID, "name": "example", "status": status, "created_at": CREATED_AT}
    return run | {"started_at": CREATED_AT, "counts": counts, "total": 3} | fields


def task_json(task_id: str, status: str = "succeeded", **fields: JsonValue) -> dict[str, JsonValue]:
    task: dict[str, JsonValue] = {
        "id": task_id,
        "task": "task_a",
        "status": status,
        "attempts": 1,
        "started_at": CREATED_AT,
        "pod": "pod-1",
    }
    return task | {"result": True if status == "succeeded" else None} | fields


def problem_response(status: int, kind: str, detail: str, *errors: JsonValue) -> httpx.Response:
    """A problem document as a pod writes it."""
    document: JsonValue = {"type": f"urn:peerflow:problem:{kind}", "title": kind, "status": status, "detail": detail, "errors": [*errors]}
    return httpx.Response(status, json=document, headers={"Content-Type": "application/problem+json"})


@dataclass(slots=True)
class FakePods:
    """Answers by `METHOD /path`, whichever address is asked; a list is used up from its front, its last answer stays.

    `down` holds addresses that refuse connections, `broken` those that break them once the request is sent.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    down: set[str] = field(default_factory=set[str])
    broken: set[str] = field(default_factory=set[str])
    requests: list[httpx.Request] = field(default_factory=list[httpx.Request])

    def on(self, route: str, *answers: JsonValue | Answer) -> None:
        """Sets the answers of a route; a JSON value is answered with 200."""
        self.answers[route] = [
            answer if isinstance(answer, httpx.Response) or callable(answer) else httpx.Response(200, json=answer) for answer in answers
        ]

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        address = f"{request.url.scheme}://{request.url.host}:{request.url.port}"
        if address in self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        if address in self.broken:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        answers = self.answers.get(f"{request.method} {request.url.path}")
        if not answers:
            return problem_response(404, "route-not-found", "there is nothing here")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            return answer(request)
        # A fresh response each time: httpx closes the stream of the one it was given.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def asked(self) -> list[str]:
        """`METHOD url` of each request, in order."""
        return [f"{request.method} {request.url}" for request in self.requests]

    def body(self, index: int = -1) -> JsonValue:
        value: JsonValue = json.loads(self.requests[index].content)
        return value


@dataclass(slots=True)
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list[float])

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
