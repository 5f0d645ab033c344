"""How many ready tasks wait in which lane, and since when: what an operator watches.

Reading it costs the server three short commands a lane, for LANES lanes of a partition at most, in one round trip; where a lane holds
tasks of several priorities, a second one finds the oldest of the lowest.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import redis.asyncio

from storage.backlog import PRIORITY_STEP
from storage.connection import translated
from storage.keys import Keys

LANES = 128
"""Lanes of a partition that are looked at, first those of the highest priority; fewer where there are more than four partitions."""
FEWEST_LANES = 16
AT_ONCE = 8
"""Partitions that are asked at the same time: a scrape must not take all connections of the API."""

Row = tuple[int, list[tuple[str, float]], list[tuple[str, float]]]
"""Of one lane: how many tasks, its first one and its last one with their scores."""


@dataclass(frozen=True, slots=True)
class LaneDepth:
    queue: str
    function: str
    ready: int
    oldest_seconds: float
    """Since when its oldest task is ready. Of a lane with more than two priorities: the oldest of the highest and the lowest."""


@dataclass(frozen=True, slots=True)
class QueueDepths:
    lanes: list[LaneDepth]
    """One for each queue and function."""
    lanes_left_out: int
    """Lanes that hold tasks too, and were not looked at."""
    live_runs: int
    round_trip_seconds: float
    """From asking the server for five small things to having them: the network, and how busy the server is."""


async def read_depths(client: redis.asyncio.Redis, partitions: Sequence[Keys], address: str) -> QueueDepths:
    """Of all partitions, a few at a time. Raises StorageUnavailable, StorageRefused or StorageCorrupt."""
    found: dict[str, tuple[int, float]] = {}
    left_out = live = 0
    round_trip = 0.0
    most = max(FEWEST_LANES, min(LANES, 4 * LANES // len(partitions)))
    for at in range(0, len(partitions), AT_ONCE):
        for part in await asyncio.gather(*(_read(client, keys, address, most) for keys in partitions[at : at + AT_ONCE])):
            left_out, live, round_trip = left_out + part.left_out, live + part.live, max(round_trip, part.round_trip_seconds)
            for lane, (ready, oldest_ms) in part.depths.items():
                before = found.get(lane, (0, 0.0))
                found[lane] = before[0] + ready, max(before[1], (part.now_ms - oldest_ms) / 1000)
    parts = ((*lane.partition("/"), *depth) for lane, depth in sorted(found.items()))
    lanes = [LaneDepth(queue, function, ready, oldest) for queue, _, function, ready, oldest in parts]
    return QueueDepths(lanes, left_out, live, round_trip)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one partition says."""

    now_ms: int
    depths: dict[str, tuple[int, int]]
    left_out: int
    live: int
    round_trip_seconds: float


async def _read(client: redis.asyncio.Redis, keys: Keys, address: str, most: int) -> _Part:
    with translated(address):
        started = perf_counter()
        now_ms, lanes, total, live = await _lanes(client, keys, most)
        round_trip = perf_counter() - started
        return _Part(now_ms, await _depths(client, keys, lanes), total - len(lanes), live, round_trip)


async def _lanes(client: redis.asyncio.Redis, keys: Keys, most: int) -> tuple[int, list[str], int, int]:
    """The server's time in ms, lanes to look at, how many there are in all, and how many runs are live."""
    pipeline = client.pipeline(transaction=False)
    pipeline.time()
    pipeline.zrange(f"{keys.prefix}lanes", 0, most - 1)
    pipeline.zcard(f"{keys.prefix}lanes")
    pipeline.zcard(f"{keys.prefix}audits")
    pipeline.zscore(f"{keys.prefix}audits", "*")
    (seconds, micros), lanes, total, audits, search = cast(
        "tuple[tuple[int, int], list[str], int, int, float | None]", await pipeline.execute()
    )
    return seconds * 1000 + micros // 1000, lanes, max(total, len(lanes)), audits - (search is not None)


async def _depths(client: redis.asyncio.Redis, keys: Keys, lanes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Lane → ready tasks, and ms at which the oldest became ready."""
    if not lanes:
        return {}
    pipeline = client.pipeline(transaction=False)
    for lane in lanes:
        key = f"{keys.prefix}lane:{lane}"
        pipeline.zcard(key)
        pipeline.zrange(key, 0, 0, withscores=True)
        pipeline.zrange(key, -1, -1, withscores=True)
    flat = await pipeline.execute()
    rows = {lane: cast("Row", tuple(flat[3 * at : 3 * at + 3])) for at, lane in enumerate(lanes)}
    found = {lane: (count, int(first[0][1]) % PRIORITY_STEP) for lane, (count, first, _) in rows.items() if first}
    mixed = {
        lane: (int(last[0][1]) // PRIORITY_STEP) * PRIORITY_STEP
        for lane, (_, first, last) in rows.items()
        if first and last and first[0][1] // PRIORITY_STEP != last[0][1] // PRIORITY_STEP
    }
    if mixed:
        for lane, score in mixed.items():
            pipeline.zrange(f"{keys.prefix}lane:{lane}", score, "+inf", byscore=True, offset=0, num=1, withscores=True)
        for lane, row in zip(mixed, cast("list[list[tuple[str, float]]]", await pipeline.execute()), strict=True):
            if row:
                count, oldest = found[lane]
                found[lane] = count, min(oldest, int(row[0][1]) % PRIORITY_STEP)
    return found
