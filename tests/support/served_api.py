"""An API served in this process as `peerflow serve` does it, and connections to it that send just the bytes that a test gives them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from fastapi import Request

from peerflow.api import create_app
from peerflow.api.callers import ANYBODY, Caller, Scope
from peerflow.api.problem import RequestRefused
from peerflow.http_server import Server, config_of
from peerflow.settings import Settings
from tests.support.canned_store import CannedStore
from tests.support.waiting import wait_until_async
from tests.unit.api.conftest import FUNCTIONS, Recorder


async def by_key(request: Request) -> Caller:
    """Nobody without a key, a reader with one."""
    match request.headers.get("x-key"):
        case None:
            raise RequestRefused(401, "scope-missing", "who are you?", remedy="send a key")
        case "break":
            raise ZeroDivisionError
        case "anybody":
            return ANYBODY
        case key:
            return Caller(key, "blue", frozenset({Scope.READ}))


class Served:
    """An API on a loopback socket, served as `peerflow serve` does."""

    def __init__(self, **settings: Any) -> None:
        app = create_app(
            CannedStore().as_store(),
            settings=Settings.model_validate(settings),
            readiness=lambda: (True, "ready", {}),
            function_names=FUNCTIONS,
            publisher=Recorder(),
            authenticate=by_key,
        )
        self.config = config_of(app)
        self.server = Server(self.config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.connections: list[Connection] = []
        self.serving: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        self.serving = asyncio.create_task(self.server.serve([self.listener]))
        await wait_until_async(lambda: self.server.started, "uvicorn listens")
        return self

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        self.connections.append(connection)
        return connection

    async def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.server.should_exit = True
        assert self.serving is not None
        await self.serving


class Connection(asyncio.Protocol):
    """Bytes to a pod and back; what comes is kept from the start, so that a connection that is reset loses none of it."""

    def __init__(self) -> None:
        self.came, self.closed = b"", asyncio.Event()
        self._taken = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def trickle(self, parts: Iterator[bytes], pause_seconds: float = 0.02) -> int:
        """Sends one part after the other until the pod has closed the connection. Answers how many went out."""
        sent = 0
        for part in parts:
            if self.closed.is_set():
                break
            self.send(part)
            sent += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self.closed.wait()
        return sent

    async def answer(self) -> bytes:
        """Everything that has not been taken, once the pod has closed the connection."""
        async with asyncio.timeout(20):
            await self.closed.wait()
        return self.came[self._taken :]

    async def one(self) -> bytes:
        """The next answer, head and body, of which the connection may go on."""

        async def whole() -> bytes:
            head, end, body = self.came[self._taken :].partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            return head + end + body[:length] if end and len(body) >= length else b""

        answer = await wait_until_async(whole, "an answer has come")
        self._taken += len(answer)
        return answer

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()
