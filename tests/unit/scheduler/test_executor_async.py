"""Async task functions: what a hostile one can do to its pod, and what it learns about itself."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from engine.outcome import Sleeping, Succeeded
from scheduler.context import TaskContext, current
from tests.support.attempts import Workbench, an_attempt
from tests.support.waiting import wait_until_async


async def test_true_is_the_result_true(bench: Workbench) -> None:
    async def work() -> bool:
        return True

    assert await bench.result(bench.start(work)) == "true"


async def test_false_is_a_failure_that_may_be_retried(bench: Workbench) -> None:
    async def work() -> bool:
        return False

    failed = await bench.failure(bench.start(work))
    assert failed.error.type == "ReturnedFalse"
    assert failed.retryable


async def test_an_exception_is_a_failure_with_type_text_traceback_and_class_names(bench: Workbench) -> None:
    class Busy(ConnectionError): ...

    async def work() -> None:
        raise Busy("try later")

    failed = await bench.failure(bench.start(work))
    assert (failed.error.type, failed.error.message) == ("Busy", "try later")
    assert failed.error.traceback is not None
    assert failed.error.traceback.splitlines()[1].endswith("in work"), failed.error.traceback
    assert failed.mro[1:4] == ("builtins.ConnectionError", "builtins.OSError", "builtins.Exception")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("by itself")])
async def test_exceptions_that_would_end_a_program_fail_the_attempt_and_the_loop_goes_on(bench: Workbench, error: BaseException) -> None:
    async def work() -> None:
        raise error

    assert (await bench.failure(bench.start(work))).error.type == type(error).__name__


async def test_code_that_cancels_its_own_asyncio_task_has_failed(bench: Workbench) -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    assert (await bench.failure(bench.start(work))).error.type == "CancelledError"


async def test_wrong_arguments_fail_without_a_call_and_without_a_retry(bench: Workbench) -> None:
    called: list[int] = []

    async def work(count: int) -> None:
        called.append(count)

    failed = await bench.failure(bench.start(work, {"count": "three"}))
    assert failed.error.type == "InvalidArguments"
    assert "'count'" in failed.error.message
    assert failed.error.traceback is None
    assert not failed.retryable
    assert called == []


async def test_an_unknown_function_is_reported_and_may_be_retried_elsewhere(bench: Workbench) -> None:
    attempt = an_attempt("not-here", {"any": "argument"})
    bench.executor.start(attempt)
    failed = await bench.failure(attempt)
    assert failed.error.type == "TaskNotRegistered"
    assert "not-here" in failed.error.message
    assert failed.retryable


async def test_a_timeout_cancels_the_code_and_shows_where_it_waited(bench: Workbench) -> None:
    cleaned_up = asyncio.Event()

    async def waits_here() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.set()

    async def work() -> None:
        await waits_here()

    failed = await bench.failure(bench.start(work, timeout_seconds=0.01))
    assert failed.error.type == "TaskTimedOut"
    assert failed.error.traceback is not None
    assert "in work" in failed.error.traceback
    assert "in waits_here" in failed.error.traceback
    assert "coroutines.py" not in failed.error.traceback
    assert cleaned_up.is_set()


async def test_no_timer_is_left_after_an_attempt_that_ended_or_was_stopped(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(delay: float, *args: Any) -> asyncio.TimerHandle:
        timers.append(call_later(delay, *args))
        return timers[-1]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", noted)
        ended = bench.start(work, {"seconds": 0}, timeout_seconds=3600)
        stopped = bench.start(work, {"seconds": 3600}, timeout_seconds=3600)
    await bench.outcome(ended)
    bench.executor.stop(stopped.claim_id)
    assert [timer.cancelled() for timer in timers] == [True, True]


async def test_stop_cancels_the_code(bench: Workbench) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    attempt = bench.start(work)
    await began.wait()
    bench.executor.stop(attempt.claim_id)
    assert attempt.claim_id not in bench.executor.running
    await cancelled.wait()
    assert bench.reports == []


async def test_stopping_an_unknown_claim_does_nothing(bench: Workbench) -> None:
    bench.executor.stop("unknown")
    assert bench.reports == []


async def test_code_learns_about_its_attempt_from_its_parameter_and_from_anywhere(bench: Workbench) -> None:
    async def work(ctx: TaskContext) -> list[object]:
        assert current() is ctx
        return [ctx.run_id, ctx.task_id, ctx.attempt, ctx.fencing_token, ctx.pod_id, len(ctx.effect_key), ctx.cancelled]

    attempt = an_attempt(bench.add(work))
    bench.executor.start(attempt)
    number = attempt.fencing_token
    assert await bench.result(attempt) == f'["run","task-{number}",1,{number},"pod",64,false]'


async def test_reports_are_made_outside_of_the_code_s_context(bench: Workbench) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    async def work() -> None:
        variable.set("inside")

    def listen(*_: object) -> None:
        seen.append(variable.get())
        with pytest.raises(LookupError):
            current()

    bench.listeners.append(listen)
    await bench.outcome(bench.start(work))
    assert seen == ["outside"]


async def test_a_heartbeat_moves_the_last_progress_on(bench: Workbench) -> None:
    beat, end = asyncio.Event(), asyncio.Event()

    async def work(ctx: TaskContext) -> None:
        await beat.wait()
        ctx.heartbeat({"done": 1})
        await end.wait()

    attempt = bench.start(work)
    at_start = bench.executor.last_progress(attempt.claim_id)
    assert at_start is not None
    beat.set()
    await wait_until_async(lambda: attempt.progress == {"done": 1}, "the progress")
    later = bench.executor.last_progress(attempt.claim_id)
    assert later is not None
    assert later > at_start
    end.set()
    await bench.outcome(attempt)
    assert bench.executor.last_progress(attempt.claim_id) is None


async def test_a_sleep_is_handed_on_as_it_is(bench: Workbench) -> None:
    async def work() -> Sleeping:
        return Sleeping(1.5, '"woken"')

    assert await bench.outcome(bench.start(work)) == Sleeping(1.5, '"woken"')


async def test_many_attempts_at_once_all_end(bench: Workbench) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    attempts = [bench.start(work, {"number": number}) for number in range(500)]
    await wait_until_async(lambda: len(bench.reports) == 500, "all reports")
    assert [bench.outcomes(attempt) for attempt in attempts] == [[Succeeded(str(number))] for number in range(500)]
