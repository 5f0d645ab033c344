"""Bodies are counted while they arrive, in one piece or in many, declared or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from peerflow.api import body
from peerflow.api.body import DRAINED_BYTES, LARGE_BYTES, Bodies
from peerflow.api.problem import RequestRefused

MIB = 1024 * 1024


def request(*chunks: bytes, received: list[int] | None = None, forever: bool = False, **headers: str) -> Request:
    """A request whose body comes in these chunks; `received` gets the number of each that was asked for."""
    queue = list(enumerate(chunks))

    async def receive() -> Message:
        if not queue:
            await asyncio.Event().wait()
        number, chunk = queue.pop(0)
        if received is not None:
            received.append(number)
        return {"type": "http.request", "body": chunk, "more_body": bool(queue) or forever}

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/workflow",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    return Request(scope, receive)


async def refused(bodies: Bodies, asked: Request, limit: int) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        async with bodies.read(asked, limit):
            pass
    return caught.value


def room(bodies: Bodies) -> int:
    return bodies._room  # pyright: ignore[reportPrivateUsage]


async def test_a_body_of_exactly_the_limit_is_read_whole() -> None:
    bodies = Bodies(10)
    async with bodies.read(request(b"01234", b"", b"56789"), 10) as data:
        assert data == b"0123456789"
        assert room(bodies) == 30
    assert room(bodies) == 40


async def test_a_chunked_body_is_counted_while_it_arrives() -> None:
    bodies = Bodies(10)
    error = await refused(bodies, request(b"01234", b"56789", b"x"), 10)
    assert error.status == 413
    assert error.detail == "the body has 11 bytes; the limit is 10 bytes"
    assert "Connection" not in error.headers
    assert room(bodies) == 40


async def test_a_body_far_too_large_is_not_read_to_its_end() -> None:
    received: list[int] = []
    chunk = b"x" * MIB
    error = await refused(Bodies(10), request(*[chunk] * 40, received=received), 10)
    assert (error.status, error.headers) == (413, {"Connection": "close"})
    assert len(received) == DRAINED_BYTES // MIB + 1
    assert error.detail.startswith("the body has more than ")


async def test_a_client_that_waits_for_leave_to_send_is_refused_by_what_it_declares() -> None:
    received: list[int] = []
    error = await refused(Bodies(10), request(b"x" * 11, received=received, content_length="11", expect="100-continue"), 10)
    assert (error.status, error.headers, received) == (413, {"Connection": "close"}, [])


async def test_a_body_declared_far_too_large_is_not_read_at_all() -> None:
    received: list[int] = []
    error = await refused(Bodies(10), request(b"x", received=received, content_length=str(10**12)), 10)
    assert (error.status, received) == (413, [])
    assert "the body has 1000000000000 bytes" in error.detail


async def test_a_lying_length_changes_nothing() -> None:
    error = await refused(Bodies(10), request(b"x" * 11, content_length="3"), 10)
    assert error.status == 413


async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE_SECONDS", 0.01)
    bodies = Bodies(10)
    error = await refused(bodies, request(b"x", forever=True), 10)
    assert (error.status, error.kind, error.headers) == (408, "body-slow", {"Connection": "close"})
    assert room(bodies) == 40


async def test_a_body_too_large_and_too_slow_is_refused_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE_SECONDS", 0.01)
    error = await refused(Bodies(10), request(b"x" * 11, forever=True), 10)
    assert (error.status, error.headers) == (413, {"Connection": "close"})


async def test_a_large_body_gets_the_time_that_its_size_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE_SECONDS", 0.01)
    deadlines: list[float] = []
    original = asyncio.Timeout.reschedule

    def reschedule(self: asyncio.Timeout, when: float | None) -> None:
        assert when is not None
        deadlines.append(when)
        original(self, when)

    monkeypatch.setattr(asyncio.Timeout, "reschedule", reschedule)
    async with Bodies(MIB).read(request(b"x" * 65_536, b"x" * 65_536), MIB):
        pass
    assert deadlines[1] - deadlines[0] == pytest.approx(1.0)


async def test_bodies_share_one_room_and_give_it_back() -> None:
    bodies = Bodies(10)
    async with bodies.read(request(b"x" * 10), 10), bodies.read(request(b"x" * 10), 10), bodies.read(request(b"x" * 10), 10):
        async with bodies.read(request(b"x" * 10), 10):
            error = await refused(bodies, request(b"x"), 10)
            assert (error.status, error.kind) == (503, "busy")
            assert error.headers["Retry-After"] == "1"
        async with bodies.read(request(b"x" * 10), 10) as data:
            assert len(data) == 10
    assert room(bodies) == 40


async def test_a_client_that_goes_away_gives_its_room_back() -> None:
    async def receive() -> Message:
        return messages.pop(0)

    messages: list[Message] = [{"type": "http.request", "body": b"xxx", "more_body": True}, {"type": "http.disconnect"}]
    bodies = Bodies(10)
    with pytest.raises(ClientDisconnect):
        async with bodies.read(Request({"type": "http", "method": "POST", "headers": []}, receive), 10):
            pass
    assert room(bodies) == 40


async def test_large_bodies_are_worked_on_one_at_a_time() -> None:
    bodies = Bodies(4 * MIB)
    inside: list[str] = []

    async def work(name: str, until: asyncio.Event) -> None:
        async with bodies.read(request(b"x" * (LARGE_BYTES + 1)), 4 * MIB):
            inside.append(name)
            await until.wait()

    first, second = asyncio.Event(), asyncio.Event()
    second.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(work("first", first))
        later = group.create_task(work("second", second))
        async with bodies.read(request(b"small"), 4 * MIB):
            assert inside in ([], ["first"])
        await asyncio.wait([later], timeout=0.05)
        assert inside == ["first"]
        first.set()
    assert inside == ["first", "second"]


async def test_a_definition_may_come_in_chunks(pod: Any) -> None:
    text = json.dumps({"steps": [{"type": "parallel", "tasks": ["task_a"]}]}).encode()

    def chunked(data: bytes) -> Callable[[], AsyncGenerator[bytes]]:
        async def pieces() -> AsyncGenerator[bytes]:
            for at in range(0, len(data), 7):
                yield data[at : at + 7]

        return pieces

    response = await pod.client.post("/workflow", content=chunked(text)(), headers={"Content-Type": "application/json"})
    assert response.status_code == 202
