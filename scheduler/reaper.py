"""Returns orphaned tasks to the ready queue.

A pod judges others only while its own heartbeats arrive. It holds off for one TTL after it found its own deadline in the past (Redis was
away or its clock jumped, so everyone looks dead), and for half a TTL after its start, in which pods that lost Redis too come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.errors import StorageRefused, StorageUnavailable
from engine.events import Publisher, TasksReaped
from storage.partition import Identity, Partition

LIMIT = 200
PAUSE_SECONDS = 0.05
"""Lets a deadline pass, and keeps several pods that wake for the same one from calling in a row."""


class Reaper:
    """One partition's orphans, as one pod sees them."""

    def __init__(
        self,
        partition: Partition,
        who: Identity,
        *,
        max_lost: int,
        clock: Callable[[], float],
        publisher: Publisher,
        on_reaped: Callable[[], None],
    ) -> None:
        self._partition, self._who, self._max_lost = partition, who, max_lost
        self._clock, self._publisher, self._on_reaped = clock, publisher, on_reaped
        self._ttl_seconds = who.ttl_ms / 1000
        self._judges_from = clock() + self._ttl_seconds / 2
        self._looking = asyncio.Event()

    def hold_off(self) -> None:
        """This pod's own deadline had passed: it judges nobody for one TTL."""
        self._judges_from = self._clock() + self._ttl_seconds

    def look(self) -> None:
        """There may be orphans: look at once."""
        self._looking.set()

    async def run(self) -> None:
        while True:
            await self._pause(await self.run_once())

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._looking.wait()
        except TimeoutError:
            return
        self._looking.clear()

    async def run_once(self) -> float:
        """Reaps if this pod may, and answers how many seconds until there is something to judge again."""
        left = self._judges_from - self._clock()
        if left > 0:
            return left
        try:
            verdict = await self._partition.reap(self._who, self._max_lost, LIMIT)
        except (StorageUnavailable, StorageRefused):
            return 1.0
        if verdict is None:
            self.hold_off()
            return self._ttl_seconds
        put_back, failed, following = verdict
        if put_back or failed:
            self._publisher.publish(TasksReaped(pod_id=self._who.pod_id, requeued=put_back, failed=failed))
            self._on_reaped()
        return min(following, self._ttl_seconds) + PAUSE_SECONDS
