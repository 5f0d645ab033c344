"""Connections that find their server when they are opened, and leave it when it is not the primary any more.

They are redis-py's own otherwise; a store with a single server does not use them. No command is ever sent to another server than the one
that the route names: an `ASK` of a slot that is on its way between two nodes is answered like any other "not now", because the node that
it points to has only a part of the slot's keys, and a script would take the others for absent.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from typing import Any, cast

import redis
import redis.asyncio
import redis.asyncio.connection
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from storage import tls
from storage.server_url import Address, shown_address
from storage.topology import Route


def _refuted(error: ResponseError, route: Route, server: Address) -> bool:
    """Whether an error reply says that `server` is not the primary for this route; what it tells is noted."""
    if isinstance(error, MovedError):
        host, port = cast("Address", error.node_addr)
        route.topology.learn(error.slot_id, (host or server[0], port))
        return True
    if isinstance(error, AskError):
        return False
    if isinstance(error, ReadOnlyError | ClusterDownError) or str(error).startswith("UNBLOCKED"):
        route.topology.doubt()
        return True
    return False


def _check_role(reply: Any, server: Address) -> None:
    role = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
    if role != "master":
        raise RedisConnectionError(f"{shown_address(server)} is a replica")


class RoutedConnection(redis.asyncio.connection.Connection):
    """For the event loop."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        super().__init__(**options)
        self._route = route
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def _server(self) -> Address:
        return self.host, self.port

    async def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.host, self.port = await self._loop.run_in_executor(self._route.topology.looker, self._route.find)
        await super()._connect()
        self._route.topology.watch(self)

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  (the base class's signature)
        await super().on_connect_check_health(check_health=check_health)
        if self._route.topology.source.checks_role:
            await self.send_command("ROLE", check_health=False)
            try:
                _check_role(await self.read_response(), self._server)
            except RedisConnectionError:
                self._route.topology.doubt()
                raise

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        self._route.topology.keep_fresh()
        if self.is_connected and self._route.leads_elsewhere(self._server):
            await self.disconnect(nowait=True)
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return cast(object, await super().read_response(*args, **options))
        except ResponseError as error:
            if _refuted(error, self._route, self._server):
                await self.disconnect(nowait=True)
            raise

    def leave_if_moved(self) -> None:
        """Ends a read that may wait for long. Thread-safe."""
        if self._loop is not None and self._route.leads_elsewhere(self._server):
            try:
                self._loop.call_soon_threadsafe(self._abort)
            except RuntimeError:
                # The loop has ended, and the connection with it.
                return

    def _abort(self) -> None:
        if self._writer is not None and self._route.leads_elsewhere(self._server):
            self._writer.transport.abort()


class RoutedSSLConnection(RoutedConnection, tls.Connection):
    """With TLS: the server's certificate must be for the name, or the address, that the route gives."""


class RoutedBlockingConnection(redis.Connection):
    """For a thread."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        super().__init__(**options)
        self._route = route

    @property
    def _server(self) -> Address:
        return self.host, self.port

    def _connect(self) -> Any:
        self.host, self.port = self._route.find()
        return super()._connect()

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  (the base class's signature)
        super().on_connect_check_health(check_health=check_health)
        if self._route.topology.source.checks_role:
            self.send_command("ROLE", check_health=False)
            try:
                _check_role(self.read_response(), self._server)
            except RedisConnectionError:
                self._route.topology.doubt()
                raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        self._route.topology.keep_fresh()
        if self.is_connected and self._route.leads_elsewhere(self._server):
            self.disconnect()
        super().send_packed_command(command, check_health)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return cast(object, super().read_response(*args, **options))
        except ResponseError as error:
            if _refuted(error, self._route, self._server):
                self.disconnect()
            raise


class RoutedBlockingSSLConnection(RoutedBlockingConnection, redis.SSLConnection):
    """With TLS."""
