"""Looks at the server from outside: what it counts, what is slow, what memory holds."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from benchmarks.plain_redis import connect
from storage.scripts import NAMES, digest

SLOW_MICROSECONDS = 500
"""From here on a call is logged. The log has commands inside scripts too: with all of them it would slow down what it measures."""
SLOWLOG_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted since its start, the call that asked excluded."""

    commands: int
    """Every command, those that scripts call included."""
    calls: dict[str, int]
    """Command name → how often."""


class Probe:
    """A connection of its own, so that it disturbs no measurement."""

    def __init__(self, client: redis.asyncio.Redis, namespace: str) -> None:
        self._client, self._namespace = client, namespace

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, namespace: str) -> AsyncGenerator[Probe]:
        client = connect(url)
        try:
            yield cls(client, namespace)
        finally:
            await client.aclose()

    async def counters(self) -> Counters:
        """Both counts, in one call. Between two of these, one command is the probe's own."""
        facts = cast("Mapping[str, Any]", await self._client.info("stats", "commandstats"))
        calls = {name.removeprefix("cmdstat_"): cast("int", row["calls"]) for name, row in facts.items() if name.startswith("cmdstat_")}
        return Counters(cast("int", facts["total_commands_processed"]), calls)

    async def used_memory(self) -> int:
        """Bytes that the server's data, and its buffers, take."""
        return cast("int", (await self._client.info("memory"))["used_memory"])

    async def run_bytes(self, run_id: str) -> tuple[int, int]:
        """Memory of all keys of a run, every element counted; and how much of it are results."""
        total = 0
        for key in await self._keys(self._pattern(f"run:{run_id}*")):
            total += cast("int", await self._client.memory_usage(key, samples=0))
        tasks = f"{{{self._namespace}:0}}:run:{run_id}:tasks"
        records = await cast("Awaitable[list[str]]", self._client.hvals(tasks))
        return total, sum(len(record.partition("\n")[2].encode()) for record in records)

    @asynccontextmanager
    async def slow_calls(self) -> AsyncGenerator[dict[str, float]]:
        """Fills in, when the block ends, the longest call of each script in ms, by the server's slow log.

        It sets the log's threshold and length meanwhile; servers that refuse CONFIG cannot be measured.
        """
        found: dict[str, float] = {}
        before = cast("dict[str, str]", await self._client.config_get("slowlog-log-slower-than", "slowlog-max-len"))
        await self._client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS, "slowlog-max-len", SLOWLOG_ENTRIES)
        try:
            await self._client.slowlog_reset()
            yield found
            entries = await self._client.slowlog_get(SLOWLOG_ENTRIES)
        finally:
            await self._client.config_set(*(part for pair in before.items() for part in pair))
        names = {digest(name): name for name in NAMES}
        for entry in entries:
            word, sha, *_ = (str(entry["command"], "utf-8", "replace") + " ").split(" ", 2)
            if word.upper() == "EVALSHA" and sha in names:
                found[names[sha]] = max(found.get(names[sha], 0.0), entry["duration"] / 1000)

    async def delete_all(self) -> None:
        """Deletes every key of the namespace."""
        for pattern in (self._pattern("*"), f"{{{self._namespace}}}:*"):
            for key in await self._keys(pattern):
                await self._client.unlink(key)

    async def _keys(self, pattern: str) -> list[str]:
        found = cast("AsyncIterator[str]", self._client.scan_iter(match=pattern, count=10_000))
        return [key async for key in found]

    def _pattern(self, rest: str) -> str:
        return f"{{{self._namespace}:0}}:{rest}"
