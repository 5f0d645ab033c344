"""A pod that ends answers the requests that are on their way to it, and waits for nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from peerflow import http_server
from peerflow.http_server import IDLE_LINGER_SECONDS, LINGER_SECONDS, LOOK_SECONDS
from tests.support.served_api import Served
from tests.support.waiting import wait_until_async

GET = b"GET /healthz HTTP/1.1\r\nHost: pod\r\n"
END = b"\r\n"


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    served = await Served().start()
    yield served
    await served.stop()


async def end(served: Served) -> None:
    """Told to end, and past the moment at which it takes connections."""
    served.server.should_exit = True
    await wait_until_async(lambda: served.listener.fileno() == -1, "the pod listens no more")


async def test_first_request_of_a_connection_that_was_made_before_is_answered(served: Served) -> None:
    connection = await served.connect()
    await end(served)
    await asyncio.sleep(2 * IDLE_LINGER_SECONDS)
    connection.send(GET + END)
    answer = await connection.answer()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("requests_before", [0, 1])
async def test_head_that_has_begun_to_come_is_waited_for(served: Served, requests_before: int) -> None:
    connection = await served.connect()
    for _ in range(requests_before):
        connection.send(GET + END)
        assert (await connection.one()).startswith(b"HTTP/1.1 200")
    connection.send(GET)
    await end(served)
    await asyncio.sleep(2 * IDLE_LINGER_SECONDS)
    connection.send(END)
    assert (await connection.answer()).startswith(b"HTTP/1.1 200")


async def test_pause_of_the_machine_takes_no_time_from_clients(served: Served) -> None:
    connection = await served.connect()
    await end(served)
    time.sleep(LINGER_SECONDS + 0.2)  # noqa: ASYNC251  # nothing in this process goes on meanwhile, as where a virtual machine stands still
    for _ in range(5):
        await asyncio.sleep(LOOK_SECONDS)
    connection.send(GET + END)
    assert (await connection.answer()).startswith(b"HTTP/1.1 200")


async def test_idle_connection_does_not_hold_the_pod(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LINGER_SECONDS", 600)
    connection = await served.connect()
    connection.send(GET + END)
    assert (await connection.one()).startswith(b"HTTP/1.1 200")
    await end(served)
    assert await connection.answer() == b""


async def test_connection_that_never_asks_does_not_hold_the_pod(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LINGER_SECONDS", 0.1)
    connection = await served.connect()
    await end(served)
    assert await connection.answer() == b""
