"""`heartbeat_timeout`: code that does not say in time that it moves is ended, though its pod lives; code that says so goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from engine.definition import RetryPolicy
from engine.errors import NoProgress
from scheduler.context import TaskContext
from scheduler.deadlines import SHOWN_CHARS
from scheduler.failures import failed
from scheduler.retrying import is_meant
from tests.support.attempts import Workbench, workbench
from tests.support.waiting import wait_until, wait_until_async

NEVER = "it has told no progress"


async def test_async_code_that_says_nothing_is_cancelled_and_shows_where_it_waited(bench: Workbench) -> None:
    cleaned_up = asyncio.Event()

    async def hangs_here() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.set()

    async def work() -> None:
        await hangs_here()

    failure = await bench.failure(bench.start(work, heartbeat_timeout_seconds=0.02))
    assert failure.error.type == "NoProgress"
    assert failure.error.message == f"the attempt did not call ctx.heartbeat() for 0.02 s, its heartbeat_timeout; {NEVER}"
    assert failure.error.traceback is not None
    assert "in hangs_here" in failure.error.traceback
    assert failure.retryable
    assert cleaned_up.is_set()


async def test_a_thread_that_says_nothing_is_abandoned_and_told() -> None:
    async with workbench(threads=1) as bench:
        told = threading.Event()

        def hangs_here(ctx: TaskContext) -> None:
            wait_until(lambda: ctx.cancelled, "ctx.cancelled")
            told.set()

        def after() -> str:
            return "ran"

        hung = bench.start(hangs_here, heartbeat_timeout_seconds=0.02)
        follower = bench.start(after)
        failure = await bench.failure(hung)
        assert failure.error.type == "NoProgress"
        assert failure.error.traceback is not None
        assert "in hangs_here" in failure.error.traceback
        assert await bench.result(follower) == '"ran"'
        assert told.wait(10)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_code_that_says_in_time_that_it_moves_goes_on_for_many_times_as_long(bench: Workbench, kind: str) -> None:
    async def works(ctx: TaskContext) -> str:
        for number in range(15):
            ctx.heartbeat(number)
            await asyncio.sleep(0.1)
        return "done"

    def works_in_a_thread(ctx: TaskContext) -> str:
        for number in range(15):
            ctx.heartbeat(number)
            time.sleep(0.1)
        return "done"

    attempt = bench.start(works if kind == "async" else works_in_a_thread, heartbeat_timeout_seconds=1)
    assert await bench.result(attempt) == '"done"'
    assert attempt.progress == 14


async def test_code_that_falls_silent_is_ended_with_what_it_said_last(bench: Workbench) -> None:
    async def work(ctx: TaskContext) -> None:
        ctx.heartbeat({"rows": 3, "of": "ü"})
        await asyncio.sleep(60)

    failure = await bench.failure(bench.start(work, heartbeat_timeout_seconds=0.05))
    assert failure.error.message.endswith('; its last progress was {"rows": 3, "of": "ü"}')


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("progress", "shown"),
    [("x" * 5_000, '"' + "x" * (SHOWN_CHARS - 2) + "…"), ({1, 2}, "<set>"), (Unspeakable(), "<Unspeakable>"), (0, "0"), (None, NEVER)],
)
async def test_progress_of_any_size_and_kind_makes_a_short_text(bench: Workbench, progress: Any, shown: str) -> None:
    async def work(ctx: TaskContext) -> None:
        ctx.heartbeat(progress)
        await asyncio.sleep(60)

    failure = await bench.failure(bench.start(work, heartbeat_timeout_seconds=0.02))
    assert failure.error.message.endswith(shown)


async def test_the_deadline_that_comes_first_names_the_error(bench: Workbench) -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    first = bench.start(work, timeout_seconds=0.02, heartbeat_timeout_seconds=30)
    second = bench.start(work, timeout_seconds=30, heartbeat_timeout_seconds=0.02)
    assert (await bench.failure(first)).error.type == "TaskTimedOut"
    assert (await bench.failure(second)).error.type == "NoProgress"


async def test_signs_of_life_do_not_extend_the_timeout(bench: Workbench) -> None:
    async def work(ctx: TaskContext) -> None:
        while True:
            ctx.heartbeat()
            await asyncio.sleep(0.005)

    assert (await bench.failure(bench.start(work, timeout_seconds=0.1, heartbeat_timeout_seconds=5))).error.type == "TaskTimedOut"


async def test_the_time_in_which_an_attempt_waits_for_a_thread_is_not_its_own() -> None:
    async with workbench(threads=1) as bench:
        release = threading.Event()

        def first() -> None:
            release.wait(10)

        def second() -> str:
            return "in time"

        bench.start(first)
        attempt = bench.start(second, heartbeat_timeout_seconds=0.03)
        begin = time.monotonic()
        await wait_until_async(lambda: time.monotonic() > begin + 0.1, "the time to pass while the second waits")
        assert bench.reports == []
        release.set()
        assert await bench.result(attempt) == '"in time"'


async def test_async_code_that_could_not_speak_because_others_blocked_the_loop_goes_on(bench: Workbench) -> None:
    async def speaks(ctx: TaskContext) -> str:
        for _ in range(10):
            ctx.heartbeat()
            await asyncio.sleep(0.02)
        return "done"

    async def blocks() -> None:
        await asyncio.sleep(0.03)
        time.sleep(0.6)  # noqa: ASYNC251  # what async code should not do

    attempt = bench.start(speaks, heartbeat_timeout_seconds=0.15)
    await bench.outcome(bench.start(blocks))
    assert await bench.result(attempt) == '"done"'


async def test_async_code_that_hangs_is_ended_although_the_loop_was_blocked(bench: Workbench) -> None:
    async def hangs() -> None:
        await asyncio.sleep(60)

    async def blocks() -> None:
        time.sleep(0.3)  # noqa: ASYNC251  # what async code should not do

    attempt = bench.start(hangs, heartbeat_timeout_seconds=0.1)
    bench.start(blocks)
    assert (await bench.failure(attempt)).error.type == "NoProgress"


async def test_no_timer_is_left_after_an_attempt_that_ended(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None: ...

    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(delay: float, *args: Any) -> asyncio.TimerHandle:
        timers.append(call_later(delay, *args))
        return timers[-1]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", noted)
        ended = bench.start(work, heartbeat_timeout_seconds=3600)
        without = bench.start(work)
    await bench.outcome(ended)
    await bench.outcome(without)
    assert [timer.cancelled() for timer in timers] == [True]


def test_a_retry_may_name_it() -> None:
    failure = failed(NoProgress(30, None))
    assert is_meant(RetryPolicy(on=["NoProgress"]), failure)
    assert not is_meant(RetryPolicy(on=["TaskTimedOut"]), failure)
