"""A client between a store and its server that loses what a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from storage.scripts import NAMES, digest
from storage.store import Store

SCRIPTS = {digest(name): name for name in NAMES}
Fault = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Takes the call, makes it or not, and answers as the server would seem to."""


async def not_sent(call: Callable[[], Awaitable[Any]]) -> Any:
    del call
    raise RedisConnectionError("cut before the server got the call")


async def reply_lost(call: Callable[[], Awaitable[Any]]) -> Any:
    await call()
    raise RedisConnectionError("cut before the reply came")


async def answered(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


class FaultyClient:
    """Passes everything on; the n-th call of a script meets the n-th fault planned for it."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self.plan: dict[str, list[Fault]] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        name = SCRIPTS[sha]
        self.calls.append(name)
        planned = self.plan.get(name)
        fault = planned.pop(0) if planned else answered
        call: Any = self._client.evalsha
        return await fault(lambda: call(sha, numkeys, *keys_and_args))


def between(monkeypatch: pytest.MonkeyPatch, store: Store) -> FaultyClient:
    """Puts itself between the store, its first partition, and the server."""
    client = FaultyClient(vars(store)["_client"])
    monkeypatch.setattr(store, "_client", client)
    monkeypatch.setattr(store.partitions[0], "_client", client)
    return client
