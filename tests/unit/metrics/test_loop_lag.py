"""The event loop's lag."""

from __future__ import annotations

import asyncio
import time

from peerflow.metrics import LoopLag
from peerflow.metrics.instruments import Buckets


async def test_code_that_blocks_the_loop_shows_as_its_lag() -> None:
    lags = Buckets((0.2,))
    looking = asyncio.create_task(LoopLag(lags).run_once(0.01))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251  # this is the fault
    assert await looking >= 0.2
    assert lags.read()[0] == [0, 1]
