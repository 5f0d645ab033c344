"""Hostile bodies over a real connection, to a real server: refused fast, with nothing stored, and the connection in order."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn

from peerflow.api import create_app
from peerflow.settings import Settings
from storage.store import Store
from tests.support.bench import Recorder
from tests.support.hostile_bodies import GOOD, HOSTILE, JSON, MIB
from tests.support.key_leaks import KeyLeaks
from tests.support.servers import connect, scan
from tests.support.waiting import wait_until_async

SECONDS = 5.0
LIMIT = 16 * MIB
POST = b"POST /workflow HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\n"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: in a test, signals belong to pytest."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Served:
    """A pod's API behind uvicorn, as `peerflow serve` runs it."""

    def __init__(self, store: Store, url: str, namespace: str) -> None:
        self.store, self.published = store, Recorder()
        self.redis_url, self.namespace = url, namespace
        app = create_app(
            store,
            settings=Settings.model_validate({"debug": True}),
            readiness=lambda: (True, "ready", {}),
            function_names=frozenset({"task_a"}),
            publisher=self.published,
        )
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, server_header=False)
        self.server = Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def runs(self) -> list[str]:
        """Ids of all runs in the store."""
        return [run.run_id for run in (await self.store.list_runs(limit=100)).runs]

    def keys(self) -> list[str]:
        """Every key of this test's namespace."""
        with connect(self.redis_url) as client:
            return scan(client, f"{{{self.namespace}[:}}]*")

    async def raw(self, *parts: bytes, within_seconds: float = 10.0) -> bytes:
        """Everything that the pod answers to these bytes until it closes the connection, or is silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                with suppress(ConnectionError):
                    writer.write(part)
                    await writer.drain()
            answer = b""
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(within_seconds):
                    while chunk := await reader.read(65_536):
                        answer += chunk
            return answer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def served(valkey_url: str, namespace: str, key_leaks: KeyLeaks) -> AsyncGenerator[Served]:
    key_leaks.allow("*}:lane*", "no pod is there to claim, and so to drop, what a cancelled run left in the ready queue")
    served = Served(await Store.open(valkey_url, namespace=namespace), valkey_url, namespace)
    serving = asyncio.create_task(served.server.serve([served.listener]))
    await wait_until_async(lambda: served.server.started, "uvicorn listens")
    yield served
    # What was started is ended, so that nothing stays in the server for ever.
    for run_id in await served.runs():
        await served.store.cancel(run_id)
    served.server.should_exit = True
    await serving
    await served.store.close()


async def test_hostile_bodies_leave_nothing_in_the_server_and_the_pod_as_well_as_before(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        for hostile in HOSTILE:
            body = hostile.body()
            started = time.monotonic()
            response = await client.post("/workflow", content=body, headers=hostile.headers)
            assert time.monotonic() - started < SECONDS, hostile.name
            assert response.status_code == hostile.status, (hostile.name, response.text[:500])
            assert response.headers["content-type"] == "application/problem+json", hostile.name
            assert response.json()["errors"][0]["code"] == hostile.code, hostile.name
            assert await served.runs() == [], hostile.name
        assert served.published.events == []
        assert served.keys() == [f"{{{served.namespace}}}:layout"]
        assert (await client.post("/workflow", content=GOOD, headers=JSON)).status_code == 202


async def test_a_chunked_body_beyond_the_limit_is_refused_and_the_connection_lives_on(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"input":{"x":"'
        for _ in range(16):
            yield b"y" * MIB
        yield b'"}}'

    async def chunked() -> AsyncGenerator[bytes]:
        for piece in pieces():
            yield piece

    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        response = await client.post("/workflow", content=chunked(), headers=JSON)
        assert response.status_code == 413
        assert response.json()["detail"] == f"the body has {sum(map(len, pieces()))} bytes; the limit is {LIMIT} bytes"
        assert "connection" not in response.headers
        assert (await client.get("/healthz")).status_code == 200
    assert await served.runs() == []


async def test_an_endless_body_is_cut_off_with_an_answer(served: Served) -> None:
    chunk = f"{MIB:x}\r\n".encode() + b"x" * MIB + b"\r\n"
    answer = await served.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 34)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in answer.lower()
    assert b"more than" in answer
    assert await served.runs() == []


async def test_who_waits_for_leave_to_send_too_much_is_told_before_sending(served: Served) -> None:
    answer = await served.raw(POST + f"Content-Length: {LIMIT + 1}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


async def test_who_waits_for_leave_to_send_a_definition_gets_it(served: Served) -> None:
    answer = await served.raw(POST + f"Connection: close\r\nContent-Length: {len(GOOD)}\r\nExpect: 100-continue\r\n\r\n".encode(), GOOD)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(POST + b"Content-Length: 1000\r\n\r\n" + GOOD)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/healthz")).status_code == 200
    assert await served.runs() == []
    assert served.published.events == []


async def test_head_has_the_headers_of_get_and_no_body(served: Served) -> None:
    answer = await served.raw(b"HEAD /healthz HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 15" in head.lower()
    assert body == b""


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /%00 HTTP/1.1",
        b"GET /runs/%ff%fe HTTP/1.1",
        b"GET //runs HTTP/1.1",
        b"GET /runs/..%2f..%2fetc HTTP/1.1",
        b"TRACE /runs HTTP/1.1",
    ],
)
async def test_odd_addresses_are_problem_documents(served: Served, request_line: bytes) -> None:
    answer = await served.raw(request_line + b"\r\nHost: pod\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 404 " in head.splitlines()[0] or b" 405 " in head.splitlines()[0]
    document: Any = json.loads(body)
    assert document["errors"]
