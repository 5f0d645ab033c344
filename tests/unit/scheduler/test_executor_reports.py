"""No result is lost and none counts twice: one report for each attempt, however its end, its timeout and its stop meet."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import uvloop

from engine.outcome import Failed, Outcome, Succeeded
from scheduler.attempt import Attempt
from tests.support.attempts import Workbench, an_attempt, workbench
from tests.support.waiting import wait_until, wait_until_async


async def a_few_rounds_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thread_that_ends_while_its_timeout_fires_is_reported_once_and_as_succeeded(bench: Workbench) -> None:
    ended = threading.Event()

    def work() -> int:
        ended.set()
        return 7

    attempt = bench.start(work, timeout_seconds=0.02)
    # The loop is held until both the result and the timer are due, so that it finds both in one round.
    wait_until(ended.is_set, "the thread's end")
    deadline = time.monotonic() + 0.04
    wait_until(lambda: time.monotonic() > deadline, "the timeout to be over")
    assert await bench.result(attempt) == "7"
    await a_few_rounds_of_the_loop()
    assert len(bench.reports) == 1


async def test_a_coroutine_that_ends_while_its_timeout_fires_is_reported_once_and_as_succeeded(bench: Workbench) -> None:
    async def work() -> int:
        time.sleep(0.03)  # noqa: ASYNC251  # blocks the loop beyond the timeout
        await asyncio.sleep(0)
        return 7  # in the same round of the loop as the timeout, just before it

    attempt = bench.start(work, timeout_seconds=0.01)
    assert await bench.result(attempt) == "7"
    await a_few_rounds_of_the_loop()
    assert len(bench.reports) == 1


async def test_an_attempt_stopped_after_its_thread_ended_and_before_that_was_delivered_is_not_reported(bench: Workbench) -> None:
    ended = threading.Event()

    def work() -> None:
        ended.set()

    attempt = bench.start(work)
    wait_until(ended.is_set, "the thread's end")
    bench.executor.stop(attempt.claim_id)
    await probe(bench)
    assert bench.outcomes(attempt) == []


async def test_an_attempt_stopped_after_its_coroutine_ended_and_before_its_callback_is_not_reported(bench: Workbench) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(bench.executor.stop, attempt.claim_id)

    attempt = bench.start(work)
    await a_few_rounds_of_the_loop()
    await probe(bench)
    assert bench.outcomes(attempt) == []
    assert attempt.claim_id not in bench.executor.running


async def test_code_that_returns_in_spite_of_its_timeout_has_timed_out(bench: Workbench) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "in spite of all"
        return "never"

    attempt = bench.start(work, timeout_seconds=0.01)
    assert (await bench.failure(attempt)).error.type == "TaskTimedOut"
    await a_few_rounds_of_the_loop()
    assert len(bench.reports) == 1


async def test_code_that_goes_on_after_its_timeout_is_given_up_after_a_second_and_its_result_dropped(bench: Workbench) -> None:
    release = asyncio.Event()
    returned = asyncio.Event()

    async def work() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        returned.set()
        return "too late"

    began = time.monotonic()
    attempt = bench.start(work, timeout_seconds=0.01)
    assert (await bench.failure(attempt)).error.type == "TaskTimedOut"
    assert 1.0 <= time.monotonic() - began < 5.0
    release.set()
    await returned.wait()
    await a_few_rounds_of_the_loop()
    assert len(bench.reports) == 1


async def test_a_coroutine_cancelled_by_others_before_it_was_entered_is_reported_as_failed(bench: Workbench) -> None:
    async def work() -> None: ...

    others = asyncio.all_tasks()
    attempt = bench.start(work)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    assert (await bench.failure(attempt)).error.type == "CancelledError"


async def test_a_thread_that_ends_after_its_timeout_changes_nothing(bench: Workbench) -> None:
    release = threading.Event()
    returned = threading.Event()

    def work() -> str:
        release.wait(10)
        returned.set()
        return "too late"

    attempt = bench.start(work, timeout_seconds=0.01)
    assert (await bench.failure(attempt)).error.type == "TaskTimedOut"
    release.set()
    wait_until(returned.is_set, "the abandoned thread's end")
    await probe(bench)
    assert len(bench.outcomes(attempt)) == 1


async def test_the_same_claim_started_twice_runs_once(bench: Workbench) -> None:
    calls: list[str] = []

    async def work() -> None:
        calls.append("called")

    attempt = bench.start(work)
    bench.executor.start(attempt)
    await bench.outcome(attempt)
    await a_few_rounds_of_the_loop()
    assert calls == ["called"]
    assert len(bench.reports) == 1


async def test_an_attempt_is_not_running_any_more_when_it_is_reported(bench: Workbench) -> None:
    seen: list[bool] = []
    bench.listeners.append(lambda attempt, _: seen.append(attempt.claim_id in bench.executor.running))

    async def work() -> None: ...

    attempt = bench.start(work)
    assert attempt.claim_id in bench.executor.running
    await bench.outcome(attempt)
    assert seen == [False]


async def test_nothing_is_reported_from_within_start_or_stop(bench: Workbench) -> None:
    async def ends() -> None: ...

    def ends_in_a_thread() -> None: ...

    bench.start(ends)
    bench.start(ends_in_a_thread)
    unknown = an_attempt("not-there")
    bench.executor.start(unknown)
    bench.executor.stop(unknown.claim_id)
    assert bench.reports == []


async def test_a_listener_may_start_and_stop_attempts(bench: Workbench) -> None:
    async def first() -> None: ...

    async def second() -> str:
        return "second"

    def stopped() -> str:
        return "stopped"

    def listen(attempt: Attempt, _: Outcome) -> None:
        if attempt.function == "first":
            bench.executor.stop(doomed.claim_id)
            follower.append(bench.start(second))

    follower: list[Attempt] = []
    bench.listeners.append(listen)
    doomed = an_attempt(bench.add(stopped))
    bench.start(first)
    bench.executor.start(doomed)
    await wait_until_async(lambda: follower, "the first attempt's report")
    assert await bench.result(follower[0]) == '"second"'
    assert len(bench.outcomes(doomed)) <= 1


async def test_a_listener_that_raises_does_not_keep_others_from_being_reported(bench: Workbench) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about["exception"]))
    error = RuntimeError("the listener is broken")

    def listen(attempt: Attempt, _: Outcome) -> None:
        if attempt is broken:
            raise error

    def work() -> int:
        return 1

    bench.listeners.append(listen)
    broken = bench.start(work)
    others = [bench.start(work) for _ in range(5)]
    for attempt in others:
        assert await bench.result(attempt) == "1"
    assert complaints == [error]


async def test_close_stops_everything_and_nothing_is_reported_or_started_after_it() -> None:
    async with workbench() as bench:

        async def sleeps() -> None:
            await asyncio.sleep(60)

        release = threading.Event()
        attempt = bench.start(sleeps)
        blocked = bench.start(blocks_until(release))
        await bench.executor.close()
        late = bench.start(sleeps)
        release.set()
        await a_few_rounds_of_the_loop()
        assert bench.reports == []
        assert not bench.executor.running
        assert {attempt.claim_id, blocked.claim_id, late.claim_id}.isdisjoint(bench.executor.running)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_random_ends_timeouts_and_stops_give_one_report_each_and_none_after_a_stop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], seed: int
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(try_random_ends(random.Random(seed)))


async def try_random_ends(dice: random.Random) -> None:
    async with workbench() as bench:
        bench.add(naps_async)
        bench.add(naps_in_a_thread)
        loop = asyncio.get_running_loop()
        stopped_unreported: set[str] = set()
        started: list[Attempt] = []

        def stop(attempt: Attempt) -> None:
            if attempt.claim_id in bench.executor.running:
                stopped_unreported.add(attempt.claim_id)
            bench.executor.stop(attempt.claim_id)

        for _ in range(150):
            nap = dice.choice([0.0, 0.001, 0.004, 0.005])
            timeout = dice.choice([None, 0.001, 0.004, 0.005])
            attempt = an_attempt(dice.choice(["naps_async", "naps_in_a_thread"]), {"seconds": nap}, timeout)
            started.append(attempt)
            bench.executor.start(attempt)
            if dice.random() < 0.4:
                loop.call_later(dice.choice([0.0, 0.001, 0.004, 0.005]), stop, attempt)
            if dice.random() < 0.3:
                await asyncio.sleep(0)
        await wait_until_async(lambda: not bench.executor.running, "the end of all attempts")
        await probe(bench)
        times = Counter(claim_id for claim_id, _ in bench.reports)
        for attempt in started:
            assert times[attempt.claim_id] == (0 if attempt.claim_id in stopped_unreported else 1), attempt
        ends = [outcome for _, outcome in bench.reports]
        assert any(isinstance(end, Succeeded) for end in ends)
        assert {end.error.type for end in ends if isinstance(end, Failed)} == {"TaskTimedOut"}


async def naps_async(seconds: float) -> None:
    await asyncio.sleep(seconds)


def naps_in_a_thread(seconds: float) -> None:
    time.sleep(seconds)


def blocks_until(release: threading.Event) -> Callable[[], None]:
    def blocks() -> None:
        release.wait(10)

    return blocks


async def probe(bench: Workbench) -> None:
    """Sends one more job through the threads and the loop, behind all that was there before."""

    def passes() -> None: ...

    await bench.outcome(bench.start(passes))
