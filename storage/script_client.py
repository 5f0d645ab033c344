"""Script calls on connections of their own, past redis-py's client.

Script calls are nearly all that a pod sends, and a chain waits for one at each hop. Beside what its connection does, redis-py's client
spends about 60 µs on a call, more than the server does: a pool behind a condition, an asyncio task around each write, packing in Python,
hooks for metrics. Here a call takes a free connection, writes, and reads; everything else goes through redis-py's client as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.observer import OnCall

# In C, and annotated as if a command had one part.
_pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


class ScriptClient(redis.asyncio.Redis):
    """redis-py's client with an `evalsha` of its own: once, never repeated, with one time limit from the connection to the whole reply."""

    on_call: OnCall | None = None
    """Hears of each script call; see `storage.scripts`."""

    def __init__(
        self, pool: redis.asyncio.BlockingConnectionPool, *, connections: int, timeout_seconds: float, wait_seconds: float
    ) -> None:
        """At most `connections` calls are under way; further callers wait up to `wait_seconds` for their turn."""
        super().__init__(connection_pool=pool)  # pyright: ignore[reportUnknownMemberType]
        self.auto_close_connection_pool = True
        self._timeout_seconds, self._wait_seconds = timeout_seconds, wait_seconds
        self._turns = asyncio.Semaphore(connections)
        # The last one used is the first to be used again, so that few calls need few connections.
        self._free: list[AbstractConnection] = []
        self._all: list[AbstractConnection] = []

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Calls a script. Where the call fails or is cancelled halfway, its connection is dropped, and with it a reply that comes late."""
        await self._turn()
        connection = self._free.pop() if self._free else self._open()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if connection.is_connected and await connection.can_read():
                    # Nothing was asked: what can be read is the end of a connection that the server closed.
                    await connection.disconnect(nowait=True)
                await connection.send_packed_command(_pack(("EVALSHA", sha, numkeys, *keys_and_args)), check_health=False)
                return cast(object, await connection.read_response())
        except ResponseError:
            raise  # a whole reply, which says no
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError(f"no reply within {self._timeout_seconds} s") from None
            raise
        finally:
            self._free.append(connection)
            self._turns.release()

    def script_connections(self) -> tuple[int, int]:
        """Connections that a script call is on now, and those that are open for them."""
        return len(self._all) - len(self._free), sum(connection.is_connected for connection in self._all)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  (the base class's signature)
        """Closes all connections."""
        for connection in self._all:
            await connection.disconnect(nowait=True)
        await super().aclose(close_connection_pool)

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise RedisConnectionError(f"no connection was free for {self._wait_seconds} s") from None

    def _open(self) -> AbstractConnection:
        connection = self.connection_pool.make_connection()
        # Its own limit would cost an asyncio task for each write; `evalsha` has one around both.
        connection.socket_timeout = None
        self._all.append(connection)
        return connection
