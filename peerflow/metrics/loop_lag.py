"""How late the event loop is: what blocks it holds up every async task, the API, and commits."""

from __future__ import annotations

import asyncio
import time

from peerflow.metrics.instruments import Buckets

INTERVAL_SECONDS = 1.0


class LoopLag:
    """Looks once a second."""

    def __init__(self, lags: Buckets) -> None:
        self._lags = lags

    async def run(self) -> None:
        while True:
            await self.run_once()

    async def run_once(self, interval_seconds: float = INTERVAL_SECONDS) -> float:
        """Sleeps, and answers how many seconds too long that was."""
        due = time.monotonic() + interval_seconds
        await asyncio.sleep(interval_seconds)
        late = max(0.0, time.monotonic() - due)
        self._lags.observe(late)
        return late
