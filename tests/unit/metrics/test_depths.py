"""Depths are read seldom, once for all who ask, and never for long."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import StorageUnavailable
from peerflow.metrics.depths import KEEP_SECONDS, RecentDepths
from storage.ready_queue import QueueDepths

DEPTHS = QueueDepths([], 0, 0, 0.0)


class Source:
    """A store whose clock and whose answers a test sets."""

    def __init__(self) -> None:
        self.now, self.asked, self.away = 0.0, 0, False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.recent = RecentDepths(self._read, clock=lambda: self.now)

    async def _read(self) -> QueueDepths:
        self.asked += 1
        await self.may_answer.wait()
        if self.away:
            raise StorageUnavailable("redis://h", "it is away")
        return DEPTHS


async def test_they_are_read_again_when_they_are_old() -> None:
    source = Source()
    for _ in range(3):
        assert await source.recent.get() is DEPTHS
        source.now += KEEP_SECONDS / 4
    assert source.asked == 1
    source.now += KEEP_SECONDS
    assert await source.recent.get() is DEPTHS
    assert source.asked == 2


async def test_a_failure_is_not_repeated_at_once_either() -> None:
    source = Source()
    source.away = True
    assert [await source.recent.get() for _ in range(3)] == [None, None, None]
    assert source.asked == 1
    source.away, source.now = False, KEEP_SECONDS + 0.1
    assert await source.recent.get() is DEPTHS


async def test_many_who_ask_at_once_share_one_read() -> None:
    source = Source()
    source.may_answer.clear()
    asking = [asyncio.create_task(source.recent.get()) for _ in range(10)]
    await asyncio.sleep(0)
    source.may_answer.set()
    assert await asyncio.gather(*asking) == [DEPTHS] * 10
    assert source.asked == 1


async def test_a_read_that_takes_long_is_not_waited_for_and_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.metrics.depths.WAIT_SECONDS", 0.01)
    source = Source()
    source.may_answer.clear()
    assert await source.recent.get() is None
    assert await source.recent.get() is None
    source.may_answer.set()
    await source.recent.close()
    assert await source.recent.get() is DEPTHS
    assert source.asked == 1


async def test_closing_before_anybody_has_asked_is_fine() -> None:
    await Source().recent.close()
