"""The async lane: one asyncio task for each attempt, in the pod's own loop."""

from __future__ import annotations

import asyncio
import functools
import os
import time

from engine.errors import TaskError
from engine.outcome import Outcome
from scheduler.calls import raised
from scheduler.failures import failed, where_coroutine_waits
from scheduler.lanes import Report, Run
from scheduler.results import outcome_of

CANCEL_SECONDS = 1.0
"""How long cancelled code may clean up before nobody waits for it any more."""


class AsyncLane:
    """Runs coroutines. A timeout or a stop cancels them; code that goes on regardless runs on unheard, and is held here until it ends."""

    def __init__(self, report: Report, *, result_bytes: int) -> None:
        self._report = report
        self._result_bytes = result_bytes
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        # Without a strong reference, the garbage collector may take a task that nobody awaits.
        self._unheard: set[asyncio.Task[Outcome]] = set()

    def start(self, run: Run) -> None:
        run.began = time.monotonic()
        run.work = work = self._loop.create_task(self._call(run))
        # Reported from a callback, and not from the task: so an attempt is reported however its task ends, outside of the user's context.
        work.add_done_callback(functools.partial(self._ended, run))

    def abort(self, run: Run) -> None:
        work: asyncio.Task[Outcome] = run.work
        self._unheard.add(work)
        work.cancel()

    def catch_up(self, run: Run) -> None:
        """What it has said was said in the loop."""

    def expire(self, run: Run, error: TaskError) -> None:
        work: asyncio.Task[Outcome] = run.work
        if work.done():
            return  # in time after all: its report is on its way
        run.timed_out = failed(error, trace=where_coroutine_waits(work))
        run.timer = self._loop.call_later(CANCEL_SECONDS, self._report, run, run.timed_out)
        self.abort(run)

    async def close(self) -> None:
        """Gives cancelled code its time to clean up; what has not ended then is left to the loop."""
        if self._unheard:
            await asyncio.wait(self._unheard, timeout=CANCEL_SECONDS)

    async def _call(self, run: Run) -> Outcome:
        run.context.enter()
        try:
            value = await run.function.call(run.attempt.args, run.context)
        except GeneratorExit:
            raise  # also what a coroutine gets that is thrown away with its loop; where the loop lives on, `_ended` reports it
        except BaseException as error:  # noqa: BLE001  # sys.exit() in a task ends the task, not the pod
            outcome: Outcome = raised(error)
        else:
            outcome = outcome_of(value, self._result_bytes)
        if os.getpid() != self._pid:
            os._exit(0)  # the user's code forked and let the copy return: there must not be two pods
        return outcome

    def _ended(self, run: Run, work: asyncio.Task[Outcome]) -> None:
        self._unheard.discard(work)
        if work.cancelled():
            outcome: Outcome = failed(asyncio.CancelledError("the task was cancelled from inside, before it began"))
        elif (error := work.exception()) is not None:
            outcome = raised(error)
        else:
            outcome = work.result()
        self._report(run, outcome if run.timed_out is None else run.timed_out)
