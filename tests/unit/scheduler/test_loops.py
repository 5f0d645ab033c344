"""Loops end when they are told to, and only then."""

from __future__ import annotations

import asyncio

import pytest

from engine.events import LoopFailed
from scheduler import loops
from scheduler.loops import Loops
from tests.support.bench import Recorder
from tests.support.waiting import wait_until_async


class Deaf:
    """Loses as many cancellations as it is told, as `asyncio.wait_for` may before Python 3.12."""

    def __init__(self, losses: int) -> None:
        self.losses, self.started, self.ended = losses, False, False

    async def run(self) -> None:
        self.started = True
        try:
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if not self.losses:
                        raise
                    self.losses -= 1
        finally:
            self.ended = True


class Failing:
    rounds = 0

    async def run(self) -> None:
        self.rounds += 1
        raise ValueError("no such thing")


@pytest.mark.parametrize("losses", [0, 1, 2])
async def test_a_loop_that_loses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch, losses: int) -> None:
    monkeypatch.setattr(loops, "CANCEL_SECONDS", 0.01)
    deaf, other = Deaf(losses), Deaf(0)
    running = Loops("pod", Recorder())
    running.start([deaf, other])
    await wait_until_async(lambda: deaf.started and other.started, "both loops run")
    async with asyncio.timeout(20):
        await running.stop()
    assert (deaf.ended, deaf.losses, other.ended) == (True, 0, True)


async def test_a_loop_that_fails_is_reported_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "AGAIN_SECONDS", 0.01)
    published, failing, other = Recorder(), Failing(), Deaf(0)
    running = Loops("pod", published)
    running.start([failing, other])
    await wait_until_async(lambda: failing.rounds > 2, "it is started again")
    assert not other.ended
    await running.stop()
    failed = published.of(LoopFailed)[0]
    assert isinstance(failed, LoopFailed)
    assert (failed.loop, failed.error) == ("Failing", "ValueError('no such thing')")
    assert "no such thing" in failed.traceback


async def test_loops_that_were_never_started_have_ended() -> None:
    await Loops("pod", Recorder()).stop()
