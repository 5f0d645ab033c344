from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from scheduler.timers import Timers
from storage.partition import Partition


class NothingDue:
    """A partition without timers."""

    async def fire_timers(self, limit: int) -> tuple[list[tuple[str, str, int]], float | None, int]:
        del limit
        return [], None, 0


async def loop_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(6))
async def test_the_loop_ends_when_it_is_cancelled_however_soon_after_a_nudge(turns: int) -> None:
    timers = Timers(cast(Partition, NothingDue()), time.monotonic)
    running = asyncio.create_task(timers.run())
    await loop_turns(10)
    timers.nudge(5.0)
    await loop_turns(turns)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=5.0)
    assert ended == {running}
    assert running.cancelled()
