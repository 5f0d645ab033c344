"""Returns orphaned tasks to the ready queue.

A pod judges others only while its own heartbeats arrive. It holds off for one TTL after it found its own deadline in the past (Redis was
away or its clock jumped, so everyone looks dead), and for half a TTL, in which pods that lost Redis too come back, after its start and
after it has heard nothing for two thirds of a TTL: what it had sent before may have arrived late and renewed its own deadline alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.errors import StorageRefused, StorageUnavailable
from engine.events import Publisher, TasksReaped
from engine.observer import Observer
from storage.partition import Identity, Partition, Reaped

LIMIT = 200
PAUSE_SECONDS = 0.05
"""Lets a deadline pass, and keeps several pods that wake for the same one from calling in a row."""

LATE_SECONDS = 0.2
"""Until a pod that has not heard from Redis for long asks again; it beats every quarter of a second meanwhile."""


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
        observer: Observer,
        on_reaped: Callable[[], None],
    ) -> None:
        self._partition, self._who, self._max_lost = partition, who, max_lost
        self._clock, self._publisher, self._observer, self._on_reaped = clock, publisher, observer, on_reaped
        self._ttl_seconds = who.ttl_ms / 1000
        self._judges_from = clock() + self._ttl_seconds / 2
        self._looking = asyncio.Event()
        self._heard_ms = 0

    def heard(self, now_ms: int) -> None:
        """A heartbeat of this pod was answered at `now_ms` by the server's clock."""
        if now_ms - self._heard_ms > self._who.ttl_ms * 2 / 3:
            self._judges_from = max(self._judges_from, self._clock() + self._ttl_seconds / 2)
        self._heard_ms = now_ms

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
            verdict = await self._partition.reap(self._who, self._max_lost, LIMIT, heard_ms=self._heard_ms)
        except (StorageUnavailable, StorageRefused):
            return 1.0
        if verdict == "GRACE":
            self.hold_off()
            return self._ttl_seconds
        if verdict == "LATE":
            return LATE_SECONDS
        if verdict.put_back or verdict.failed:
            self._tell(verdict)
            self._on_reaped()
        return min(verdict.following_seconds, self._ttl_seconds) + PAUSE_SECONDS

    def _tell(self, verdict: Reaped) -> None:
        """A pod's last sign of life was one TTL before its deadline, or before the end of a lease that it took after that."""
        longest = 0.0
        for lane, overdue in verdict.orphans:
            silent = overdue + self._ttl_seconds
            longest = max(longest, silent)
            self._observer.taken_over(lane.partition("/")[2], silent)
        self._publisher.publish(
            TasksReaped(pod_id=self._who.pod_id, requeued=verdict.put_back, failed=verdict.failed, takeover_seconds=round(longest, 3))
        )
