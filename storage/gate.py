"""A gate between a store and its server, for tests: every call of a pod passes it, and may meet a fault there.

A pod in production has none: its clients are redis-py's own, and nothing here is loaded. A test gives its stores a `Rig`; then the calls
of the loops (scripts, the inbox, definitions), those of the heartbeat thread, and script calls of the API go through `Rig.gate`, with
the script's name or `inbox`, `graphs`, `read`. A rig may also have scripts rewritten, as a shifted clock needs it (`storage.backstage`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import redis
import redis.asyncio
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError

from storage.scripts import all_scripts, digest

Send = Callable[[], Awaitable[Any]]
Rewrite = Callable[[str, str], str]
"""Name and text of a script → the text that is sent instead."""


class Gate(Protocol):
    """Sends a call, or not, and answers what the caller shall see. `args` are the script's arguments, none for reads."""

    async def call(self, name: str, args: Sequence[Any], send: Send) -> Any: ...

    def call_blocking(self, name: str, args: Sequence[Any], send: Callable[[], Any]) -> Any:
        """`call` for the heartbeat thread."""
        ...


class OpenGate:
    """Lets everything pass."""

    async def call(self, name: str, args: Sequence[Any], send: Send) -> Any:
        del name, args
        return await send()

    def call_blocking(self, name: str, args: Sequence[Any], send: Callable[[], Any]) -> Any:
        del name, args
        return send()


def connection_lost(what: str) -> Exception:
    """What a client raises whose connection was cut: whether the call was applied is unknown to it."""
    return RedisConnectionError(what)


def error_reply(text: str) -> Exception:
    """What a client raises for an error reply of the server, such as "LOADING Redis is loading the dataset in memory"."""
    return cast(Exception, BaseParser.parse_error(text))  # pyright: ignore[reportUnknownMemberType]


class Scripts:
    """The scripts as a rig's clients send them."""

    def __init__(self, *rewrites: Rewrite) -> None:
        self._text: dict[str, str] = {}
        self._named: dict[str, tuple[str, str]] = {}
        for name, source in all_scripts():
            text = source
            for rewrite in rewrites:
                text = rewrite(name, text)
            self._text[source] = text
            self._named[digest(name)] = name, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def named(self, sha: str) -> tuple[str, str]:
        """The name of the script that the loader knows by `sha`, and the digest of what is sent instead."""
        return self._named[sha]

    def text(self, source: str) -> str:
        """What is sent instead of a script's text."""
        return self._text[source]


@dataclass(frozen=True, slots=True)
class Rig:
    """What a test puts between a store and its server."""

    gate: Gate = field(default_factory=OpenGate)
    scripts: Scripts = field(default_factory=Scripts)
    client_name: str = "peerflow"
    """By which the server knows all connections of this store."""

    def around(self, client: redis.asyncio.Redis, reads: str) -> redis.asyncio.Redis:
        """The client with the gate in front of it; pipelines are called `reads` there."""
        return cast("redis.asyncio.Redis", GatedClient(client, self, reads))

    def around_blocking(self, client: redis.Redis) -> redis.Redis:
        return cast("redis.Redis", GatedBlockingClient(client, self))


class GatedClient:
    """Passes everything on, through the gate what a pod's loops send."""

    def __init__(self, client: redis.asyncio.Redis, rig: Rig, reads: str) -> None:
        self._client: Any = client
        self._rig, self._reads = rig, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        name, sent = self._rig.scripts.named(sha)
        return await self._rig.gate.call(name, keys_and_args[1:], lambda: self._client.evalsha(sent, numkeys, *keys_and_args))

    async def script_load(self, script: str) -> Any:
        return await self._client.script_load(self._rig.scripts.text(script))

    async def blpop(self, keys: Sequence[str], timeout: float) -> Any:
        return await self._rig.gate.call("inbox", (), lambda: self._client.blpop(keys, timeout=timeout))

    async def lpop(self, key: str, count: int) -> Any:
        return await self._rig.gate.call("inbox", (), lambda: self._client.lpop(key, count))

    def pipeline(self, *, transaction: bool = True) -> Any:
        return GatedPipeline(self._client.pipeline(transaction=transaction), self._rig.gate, self._reads)


class GatedPipeline:
    """A pipeline whose sending passes the gate."""

    def __init__(self, pipeline: Any, gate: Gate, reads: str) -> None:
        self._pipeline, self._gate, self._reads = pipeline, gate, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    async def execute(self) -> Any:
        return await self._gate.call(self._reads, (), self._pipeline.execute)


class GatedBlockingClient:
    """The heartbeat thread's client with the gate in front of it."""

    def __init__(self, client: redis.Redis, rig: Rig) -> None:
        self._client: Any = client
        self._rig = rig

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        name, sent = self._rig.scripts.named(sha)
        return self._rig.gate.call_blocking(name, keys_and_args[1:], lambda: self._client.evalsha(sent, numkeys, *keys_and_args))

    def script_load(self, script: str) -> Any:
        return self._client.script_load(self._rig.scripts.text(script))
