"""uvicorn, ended so that no request is lost: neither one that is under way, nor one that is just arriving."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peerflow.http_protocol import Protocol
from peerflow.taking_turns import TakingTurns

KEEP_ALIVE_SECONDS = 75
SHUTDOWN_SECONDS = 10
"""For requests that are still under way when the pod has drained."""
CONNECTIONS = 5000
"""More are answered 503 at once, so that a flood cannot take the memory that running tasks need."""
IDLE_LINGER_SECONDS = 0.5
"""How long a connection whose requests are all answered is kept after the last one was accepted: clients expect its end."""
LINGER_SECONDS = 3.0
"""How long one is kept that has yet to bring its first request, or the rest of a head: no client expects its end then."""
LOOK_SECONDS = 0.01


def config_of(app: FastAPI) -> uvicorn.Config:
    """How a pod serves its application."""
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the pod drains first, and answers while it does.

    `shared` is a listening socket that other processes accept from too, beside those that `serve` is given.
    """

    def __init__(self, config: uvicorn.Config, shared: socket.socket | None = None) -> None:
        super().__init__(config)
        self._leaving = _Leaving(config.app)
        config.app = self._leaving
        self._shared = shared
        self._turns: TakingTurns | None = None
        self._arriving: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def leave(self) -> None:
        """From now on each answer closes its connection: clients come back on another one, and soon to another pod."""
        self._leaving.on = True

    def leave_to_others(self) -> None:
        """As `leave`, and takes no further connection from the shared socket: others do."""
        self.leave()
        if self._turns is not None:
            self._turns.stop()
            self._shared = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._shared is not None and not self.should_exit:
            self._turns = TakingTurns(self._shared, self._take)
            self._turns.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no further connection, answers what has been asked on those that there are, and ends."""
        self.leave()
        # The kernel has made connections that nobody has accepted yet; closing the socket would reset them, and what they carry.
        # Of a shared socket the last process to leave does this; those before it take what others would have taken.
        shared = [] if self._shared is None else [self._shared]
        accepted = [connection for listener in [*(sockets or []), *shared] for connection in _accept_all(listener)]
        if self._turns is not None:
            self._turns.stop()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        if self._arriving:
            await asyncio.wait(self._arriving)
        for connection in accepted:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await self._linger()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        """Waits for requests that are on their way."""
        # Turns are counted, not seconds: where the whole machine pauses, clients have not had the time that a clock says has passed.
        for turn in range(round(LINGER_SECONDS / LOOK_SECONDS)):
            connections: set[Any] = self.server_state.connections
            if not connections or (turn * LOOK_SECONDS >= IDLE_LINGER_SECONDS and all(each.idle for each in connections)):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for each connection that it accepts."""
        make: Any = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


class _Leaving:
    """Wraps the application; once it is on, each answer says that its connection ends."""

    def __init__(self, app: Any) -> None:
        self._app: ASGIApp = app
        self.on = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            if self.on and message["type"] == "http.response.start":
                message = {**message, "headers": list(message["headers"])}
                MutableHeaders(raw=message["headers"])["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, last if scope["type"] == "http" else send)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    listener.settimeout(0)
    accepted: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.settimeout(0)
            accepted.append(connection)
    return accepted
