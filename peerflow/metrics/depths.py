"""The depths of the queues, read from Redis when somebody scrapes: at most every few seconds, and only as long as a scrape can wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from engine.errors import PeerflowError
from storage.ready_queue import QueueDepths

KEEP_SECONDS = 5.0
"""Scrapes within it get the same answer, or the same silence."""
WAIT_SECONDS = 1.0
"""A scrape waits no longer; Prometheus gives up after 10 s by default, and takes nothing then."""


class RecentDepths:
    """Answers what was read last. Everything here happens in the event loop's thread."""

    def __init__(self, read: Callable[[], Awaitable[QueueDepths]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._reading: asyncio.Task[QueueDepths | None] | None = None
        self._read_at = float("-inf")

    async def get(self) -> QueueDepths | None:
        """At most KEEP_SECONDS old; None where Redis did not answer in time."""
        if self._reading is None or (self._reading.done() and self._clock() - self._read_at > KEEP_SECONDS):
            self._reading = asyncio.create_task(self._try())
        # Not cancelled where it takes longer: a call that is cut off in the middle costs its connection.
        done, _ = await asyncio.wait({self._reading}, timeout=WAIT_SECONDS)
        return self._reading.result() if done else None

    async def _try(self) -> QueueDepths | None:
        try:
            return await self._read()
        except PeerflowError:
            return None
        finally:
            self._read_at = self._clock()

    async def close(self) -> None:
        """Returns once no read is under way."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
