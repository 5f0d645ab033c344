"""Fires timers when they are due by the server's clock: retries, sleeps, slices to pass on, runs to forget.

Timers live in storage, so a retry holds no worker, and any pod can fire it. A pod wakes for the timers that it knows of: those of its
own commits, and the next one that its last look at storage found. Every 20 s it looks anyway, for those of pods that died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.errors import StorageRefused, StorageUnavailable
from storage.partition import Partition

LOOK_SECONDS = 20.0
LIMIT = 200
EARLY_SECONDS = 0.001
"""The server counts milliseconds: a look that comes a fraction too early would find nothing."""


class Timers:
    """One partition's timers, as one pod fires them."""

    def __init__(self, partition: Partition, clock: Callable[[], float], *, look_seconds: float = LOOK_SECONDS) -> None:
        self._partition, self._clock, self._look_seconds = partition, clock, look_seconds
        self.on_slices: Callable[[list[tuple[str, str, int]]], None] | None = None
        """Takes slices that are due; set once, before `run`: who passes slices on knows the timers too."""
        self._due = clock()
        self._changed = asyncio.Event()

    def nudge(self, delay_seconds: float) -> None:
        """Something is due in `delay_seconds`."""
        due = self._clock() + delay_seconds
        if due < self._due:
            self._due = due
            self._changed.set()

    def look(self) -> None:
        """Looks at once, however the clock has jumped since the last time."""
        self._due = self._clock()
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._sleep()
            try:
                await self.run_once()
            except (StorageUnavailable, StorageRefused):
                self._due = self._clock() + 1.0

    async def run_once(self) -> int:
        """Fires what is due, at most LIMIT timers, and notes when to look again. Answers how many fired."""
        self._due = self._clock() + self._look_seconds
        slices, following, fired = await self._partition.fire_timers(LIMIT)
        if slices and self.on_slices is not None:
            self.on_slices(slices)
        if following is not None:
            self.nudge(following + EARLY_SECONDS)
        return fired

    async def _sleep(self) -> None:
        while (left := self._due - self._clock()) > 0:
            self._changed.clear()
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return
