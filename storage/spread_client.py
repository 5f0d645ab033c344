"""One client for a Redis Cluster: each call goes to the primary that serves its key.

redis-py's own cluster client repeats calls and follows `ASK` by itself; a claim sent twice takes two batches, and a script that follows a
slot which is on its way sees only a part of its keys. Here a key's hash tag has an ordinary client (`storage.script_client`) whose
connections find their server by the tag's slot (`storage.routed`). All keys of a partition share one tag, so there are as many clients as
partitions and few others. What a store sends names its key first; a pipeline over several partitions becomes one for each, sent at once.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import redis.asyncio
from redis.crc import key_slot

from engine.observer import OnCall
from storage.topology import Route, Topology


def slot_of(key: str) -> int:
    """The slot of a key: of its hash tag, where it has one."""
    return key_slot(key.encode())


def _tag_of(key: str) -> str:
    start = key.find("{")
    return key[start : key.find("}", start) + 1] or key


def _key_of(args: Sequence[Any], options: Mapping[str, Any]) -> str:
    """The key, or the first of the keys, that a command names first; empty where it has no argument at all."""
    named: Any = args[0] if args else next(iter(options.values()), "")
    return named if isinstance(named, str) else str(next(iter(named)))


class SpreadClient:
    """What `storage` uses of redis-py's client, for a cluster."""

    on_call: OnCall | None = None
    """Hears of each script call; see `storage.scripts.observe_calls`."""

    def __init__(self, topology: Topology, open_client: Callable[[Route], redis.asyncio.Redis]) -> None:
        """`open_client` opens a client for the servers that a route leads to."""
        self._topology, self._open_client = topology, open_client
        self._clients: dict[str, redis.asyncio.Redis] = {}

    def client_of(self, key: str) -> Any:
        """The client of the key's primary; without a key, of any."""
        if not key and self._clients:
            return next(iter(self._clients.values()))
        tag = _tag_of(key)
        if tag not in self._clients:
            self._clients[tag] = self._open_client(Route(self._topology, slot_of(tag)))
        return self._clients[tag]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Any command whose first argument is its key, or its keys of one tag."""

        def command(*args: Any, **options: Any) -> Any:
            return getattr(self.client_of(_key_of(args, options)), name)(*args, **options)

        return command

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return self.client_of(keys_and_args[0]).evalsha(sha, numkeys, *keys_and_args)

    async def script_load(self, script: str) -> str:
        """Loads it on every server that was used so far, as far as they answer: one that is away must not keep it from the others."""
        loads = [client.script_load(script) for client in self._clients.values()]
        answers = await asyncio.gather(*loads, return_exceptions=True)
        loaded = [answer for answer in answers if isinstance(answer, str)]
        if not loaded:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return loaded[0]

    def pipeline(self, *, transaction: bool = True) -> SpreadPipeline:
        return SpreadPipeline(self, transaction=transaction)

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()


class SpreadPipeline:
    """Notes commands and sends them as a pipeline for each client whose keys they name. A transaction is for keys of one tag."""

    def __init__(self, client: SpreadClient, *, transaction: bool) -> None:
        self._client, self._transaction = client, transaction
        self._commands: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = []
        """Key, method, arguments; without a key, as `time`, it is for the server of the first key."""

    def __getattr__(self, name: str) -> Callable[..., SpreadPipeline]:
        """Any command whose first argument is its key, or its keys of one tag."""

        def command(*args: Any, **options: Any) -> SpreadPipeline:
            self._commands.append((_key_of(args, options), name, args, options))
            return self

        return command

    def execute_command(self, name: str, key: str, *args: Any, **options: Any) -> SpreadPipeline:
        self._commands.append((key, "execute_command", (name, key, *args), options))
        return self

    async def execute(self) -> list[Any]:
        """The answers in the order of the commands. Where one pipeline fails, its error is raised when all have ended."""
        first = next((key for key, *_ in self._commands if key), "")
        pipelines: dict[int, Any] = {}
        order: list[tuple[int, int]] = []
        for key, method, args, options in self._commands:
            client = self._client.client_of(key or first)
            if id(client) not in pipelines:
                pipelines[id(client)] = client.pipeline(transaction=self._transaction)
            order.append((id(client), len(pipelines[id(client)])))
            getattr(pipelines[id(client)], method)(*args, **options)
        self._commands = []
        if self._transaction and len(pipelines) > 1:
            raise ValueError("a transaction cannot reach keys of several partitions")
        found = await asyncio.gather(*(pipeline.execute() for pipeline in pipelines.values()), return_exceptions=True)
        failed = [answer for answer in found if isinstance(answer, BaseException)]
        if failed:
            raise failed[0]
        answers = dict(zip(pipelines, cast("list[list[Any]]", found), strict=True))
        return [answers[number][place] for number, place in order]
