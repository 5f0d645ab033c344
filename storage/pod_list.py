"""Reading who lives, what each can do, and how much it holds."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import redis.asyncio

from storage.connection import translated
from storage.keys import Keys
from storage.partition import Partition
from storage.stuck import Fresh
from storage.views import FunctionView, PodView

PodRow = tuple[str, int, int, dict[str, Any] | None]
"""Pod, deadline in ms, claims that it holds, and what it said of itself."""


class PodReader:
    """The part of the Store that knows pods."""

    def __init__(self, client: redis.asyncio.Redis, partitions: Sequence[Partition], address: str) -> None:
        self._client, self.partitions, self.address = client, partitions, address
        self._fresh = Fresh()

    async def pods(self) -> list[PodView]:
        """Every pod that has not been reaped or signed off, by start."""
        return _pods(*await self._pod_rows())

    async def fresh_pods(self) -> Sequence[PodView] | None:
        """`pods`, at most a second old; None while a living pod has not said what it can do, so that nobody can tell what none can."""
        if self._fresh.stale:
            rows, now_ms = await self._pod_rows()
            silent = any(deadline > now_ms and not _complete(said) for _, deadline, _, said in rows)
            self._fresh.keep(None if silent else _pods(rows, now_ms))
        return self._fresh.pods

    async def functions(self) -> dict[str, FunctionView]:
        """Task functions that living pods have registered, by name, with how many pods have each."""
        rows, now_ms = await self._pod_rows()
        found: dict[str, FunctionView] = {}
        for _, deadline, _, said in rows:
            if said and deadline > now_ms:
                for entry in cast("list[dict[str, Any]]", said["catalog"]):
                    pods = found[entry["name"]].pods if entry["name"] in found else 0
                    found[entry["name"]] = FunctionView(entry["name"], entry["kind"], entry["description"], entry["parameters"], pods + 1)
        return dict(sorted(found.items()))

    async def _pod_rows(self) -> tuple[list[PodRow], int]:
        keys: Keys = self.partitions[0].keys
        with translated(self.address):
            pods = cast("list[tuple[str, float]]", await self._client.zrange(keys.pods, 0, -1, withscores=True))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.time()
            for pod_id, _ in pods:
                pipeline.get(keys.pod(pod_id))
                for partition in self.partitions:
                    pipeline.zcard(partition.keys.claims(pod_id))
            (seconds, micros), *rest = await pipeline.execute()
        width = 1 + len(self.partitions)
        rows: list[PodRow] = []
        for number, (pod_id, deadline) in enumerate(pods):
            said, *held = rest[number * width : (number + 1) * width]
            rows.append((pod_id, int(deadline), sum(held), json.loads(said) if said else None))
        return rows, seconds * 1000 + micros // 1000


def _complete(said: dict[str, Any] | None) -> bool:
    return said is not None and "catalog" in said


def _pods(rows: Sequence[PodRow], now_ms: int) -> list[PodView]:
    pods = [_pod(pod_id, deadline, held, said, now_ms) for pod_id, deadline, held, said in rows if said is not None and _complete(said)]
    return sorted(pods, key=lambda pod: (pod.started_at_ms, pod.pod_id))


def _pod(pod_id: str, deadline: int, held: int, said: dict[str, Any], now_ms: int) -> PodView:
    return PodView(
        pod_id=pod_id,
        host=said["host"],
        version=said["version"],
        state="lost" if deadline < now_ms else said["state"],
        started_at_ms=said["started_at_ms"],
        last_seen_at_ms=deadline - said["ttl_ms"],
        concurrency=said["concurrency"],
        running=held,
        queues=tuple(said["queues"]),
        functions=tuple(entry["name"] for entry in said["catalog"]),
        process_functions=frozenset(entry["name"] for entry in said["catalog"] if entry.get("kind") == "process"),
    )
