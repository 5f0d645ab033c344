"""Functions that block: threads enough and not too many, none that a hung function holds, results in batches."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from contextvars import ContextVar

import pytest

from engine.errors import TaskTimedOut
from engine.outcome import Outcome, Succeeded
from scheduler.context import TaskContext, current
from scheduler.lanes import Run
from scheduler.registry import TaskFunction
from scheduler.threads import ThreadLane
from tests.support.attempts import Workbench, an_attempt, workbench
from tests.support.waiting import wait_until, wait_until_async


async def test_a_blocking_function_runs_beside_the_loop(bench: Workbench) -> None:
    def work() -> str:
        return threading.current_thread().name

    assert await bench.result(bench.start(work)) == '"peerflow-task"'


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration(), ValueError("no")]
)
async def test_whatever_a_function_raises_fails_its_attempt_and_the_thread_goes_on(bench: Workbench, error: BaseException) -> None:
    def work() -> None:
        raise error

    failed = await bench.failure(bench.start(work))
    assert failed.error.type == type(error).__name__
    assert failed.error.traceback is not None
    assert failed.error.traceback.splitlines()[1].endswith("in work"), failed.error.traceback

    def next_work() -> None: ...

    assert await bench.result(bench.start(next_work)) == "null"


async def test_a_decorated_function_that_turns_out_to_be_async_fails_with_the_remedy(bench: Workbench) -> None:
    async def inner() -> None: ...

    def work() -> object:
        return inner()

    failed = await bench.failure(bench.start(work))
    assert failed.error.type == "InvalidResult"
    assert "async def" in failed.error.message
    assert not failed.retryable


async def test_a_thousand_quick_functions_wake_the_loop_once_for_each_batch() -> None:
    async with workbench() as bench:
        loop = asyncio.get_running_loop()
        wakes: list[object] = []
        wake = loop.call_soon_threadsafe

        def counted(callback: object, *args: object, **kwargs: object) -> asyncio.Handle:
            wakes.append(callback)
            return wake(callback, *args, **kwargs)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", counted)
            ended = threading.Semaphore(0)

            def work() -> None:
                ended.release()

            for _ in range(1000):
                bench.start(work)
            # The loop is held here until all have ended: one wake-up must do for them all, but for the last that each thread has in hand.
            for _ in range(1000):
                assert ended.acquire(timeout=10)
            await wait_until_async(lambda: len(bench.reports) == 1000, "all reports")
        assert len(wakes) <= 1 + 8


async def test_quick_functions_share_one_thread_and_blocked_ones_get_one_each() -> None:
    async with workbench(threads=6) as bench:
        names: set[int] = set()
        gate = threading.Barrier(6, timeout=10)

        def quick() -> None:
            names.add(threading.get_ident())

        def meets_the_others() -> None:
            gate.wait()

        await bench.outcome(bench.start(quick))
        await bench.outcome(bench.start(quick))
        assert len(names) == 1
        # Each returns only when all six run at once.
        for attempt in [bench.start(meets_the_others) for _ in range(6)]:
            assert await bench.result(attempt) == "null"


async def test_more_functions_than_threads_wait_their_turn_and_their_timeouts_wait_with_them() -> None:
    async with workbench(threads=1) as bench:
        release = threading.Event()

        def first() -> None:
            release.wait(10)

        def second() -> str:
            return "in time"

        bench.start(first)
        attempt = bench.start(second, timeout_seconds=0.03)
        shortest = bench.start(second, timeout_seconds=0.001)
        begin = time.monotonic()
        await wait_until_async(lambda: time.monotonic() > begin + 0.1, "the second's timeout to pass while it waits")
        assert bench.reports == []
        release.set()
        assert await bench.result(attempt) == '"in time"'
        await bench.outcome(shortest)


async def test_a_thread_that_hangs_is_replaced_and_shows_where_it_hangs() -> None:
    async with workbench(threads=1) as bench:
        release = threading.Event()

        def hangs_here() -> None:
            release.wait(10)

        def work() -> None:
            hangs_here()

        def after() -> str:
            return "ran"

        hung = bench.start(work, timeout_seconds=0.02)
        follower = bench.start(after)
        failed = await bench.failure(hung)
        assert failed.error.type == "TaskTimedOut"
        assert failed.error.traceback is not None
        assert "in hangs_here" in failed.error.traceback
        assert "in _work" not in failed.error.traceback
        assert await bench.result(follower) == '"ran"'
        release.set()


async def test_a_stopped_function_is_told_and_its_thread_replaced() -> None:
    async with workbench(threads=1) as bench:
        told = threading.Event()
        begun = threading.Event()

        def work(ctx: TaskContext) -> None:
            begun.set()
            wait_until(lambda: ctx.cancelled, "ctx.cancelled")
            told.set()

        def after() -> str:
            return "ran"

        attempt = bench.start(work)
        assert begun.wait(10)
        bench.executor.stop(attempt.claim_id)
        assert await bench.result(bench.start(after)) == '"ran"'
        assert told.wait(10)
        assert bench.outcomes(attempt) == []


async def a_run_that_has_ended_and_is_not_delivered_yet() -> tuple[ThreadLane, Run, list[Outcome]]:
    def work() -> int:
        return 7

    reports: list[Outcome] = []
    lane = ThreadLane(lambda _, outcome: reports.append(outcome), result_bytes=1000, threads=1)
    run = Run(an_attempt("work", timeout_seconds=0.01), TaskFunction(work), TaskContext())
    lane.start(run)
    wait_until(lambda: run.work.finished, "the function's end, without a look of the loop")
    assert reports == []
    return lane, run, reports


async def test_a_timeout_that_fires_between_the_end_of_a_function_and_its_report_comes_too_late() -> None:
    lane, run, reports = await a_run_that_has_ended_and_is_not_delivered_yet()
    lane.expire(run, TaskTimedOut(0.01))
    assert reports == []
    await wait_until_async(lambda: reports, "the report")
    assert reports == [Succeeded("7")]
    assert lane.size == 1
    await lane.close()


async def test_a_stop_between_the_end_of_a_function_and_its_report_costs_no_thread() -> None:
    lane, run, _ = await a_run_that_has_ended_and_is_not_delivered_yet()
    lane.abort(run)
    assert lane.size == 1
    await lane.close()


async def test_a_function_stopped_before_its_turn_is_never_called() -> None:
    async with workbench(threads=1) as bench:
        release = threading.Event()
        called: list[str] = []

        def first() -> None:
            release.wait(10)

        def second() -> None:
            called.append("second")

        def third() -> None: ...

        bench.start(first)
        waiting = bench.start(second)
        bench.executor.stop(waiting.claim_id)
        last = bench.start(third)
        release.set()
        await bench.outcome(last)
        assert called == []


async def test_what_one_function_sets_in_its_context_is_not_seen_by_the_next() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    def work() -> list[str]:
        before = variable.get()
        variable.set("dirty")
        return [before, current().task_id]

    async with workbench(threads=1) as bench:
        for _ in range(2):
            attempt = an_attempt(bench.add(work))
            bench.executor.start(attempt)
            assert await bench.result(attempt) == f'["clean","{attempt.task_id}"]'


async def test_heartbeats_come_from_threads_too(bench: Workbench) -> None:
    release = threading.Event()

    def work(ctx: TaskContext) -> None:
        ctx.heartbeat("half")
        release.wait(10)

    attempt = bench.start(work)
    await wait_until_async(lambda: attempt.progress == "half", "the progress")
    release.set()
    await bench.outcome(attempt)


async def test_a_function_that_forks_and_lets_the_copy_return_ends_once(bench: Workbench) -> None:
    def work() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this test is about
            child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            return f"the copy ended with {os.waitstatus_to_exitcode(status)}"
        return "copy"

    assert await bench.result(bench.start(work)) == '"the copy ended with 0"'
    assert len(bench.reports) == 1


async def test_where_no_thread_can_be_had_attempts_fail_and_may_be_retried(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def work() -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        failed = await bench.failure(bench.start(work))
    assert failed.error.type == "ThreadUnavailable"
    assert failed.retryable
    assert await bench.result(bench.start(work)) == "null"


def test_a_hung_thread_does_not_keep_the_process_from_ending() -> None:
    program = """
        import asyncio, threading
        from scheduler.attempt import Attempt
        from scheduler.executor import Executor
        from scheduler.registry import Registry

        async def main():
            registry = Registry()
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def hangs():
                loop.call_soon_threadsafe(begun.set)
                threading.Event().wait()

            registry.register(hangs)
            executor = Executor(registry, "pod", on_done=print)
            executor.start(Attempt("run", 0, "task", "hangs", {}, 1, 0, 1, "claim"))
            await begun.wait()
            await executor.close()

        asyncio.run(main())
        print("ended")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "ended\n"
