"""Runs claimed attempts, and says once for each how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from engine.errors import TaskNotRegistered
from engine.limits import Limits
from engine.outcome import Outcome
from scheduler.attempt import Attempt
from scheduler.context import TaskContext
from scheduler.coroutines import AsyncLane
from scheduler.deadlines import CLOCK_SECONDS, UNBEGUN_SECONDS, has_deadline, overdue, seconds_left
from scheduler.effects import EffectKeeper
from scheduler.lanes import Lane, Run
from scheduler.processes import ProcessLane
from scheduler.registry import Registry, TaskFunction
from scheduler.task_lines import LineSink
from scheduler.threads import ThreadLane
from scheduler.tracing import AttemptTracer

OnDone = Callable[[Attempt, Outcome], None]


class Executor:
    """Starts attempts and reports their outcomes; holds each from `start` to its report or to `stop`, whichever is first.

    An attempt is held exactly while it is in `running`. Whoever takes it out decides how it ended: a report that comes later (a thread
    that was abandoned, code that ignored its cancellation) finds nothing and changes nothing. All of this happens in the loop's thread.
    """

    def __init__(
        self,
        registry: Registry,
        pod_id: str,
        *,
        on_done: OnDone,
        result_bytes: int = Limits().result_bytes,
        threads: int = 100,
        processes: int = 1,
        effects: EffectKeeper | None = None,
        tracer: AttemptTracer | None = None,
        lines: LineSink | None = None,
    ) -> None:
        """Needs a running loop. `on_done` is called in its thread, never from within `start` or `stop`.

        `threads` and `processes` bound how many blocking functions and process functions run at once; more wait here, their timeouts
        not counting yet. `threads` is best as great as the number of attempts that the pod claims. Without `effects`, each attempt
        remembers its effects by itself. `lines` keeps what their code prints and logs, where `task_output.captured` listens.
        """
        self._registry = registry
        self._pod_id = pod_id
        self._on_done = on_done
        self._effects = effects
        self._tracer = tracer
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, Run] = {}
        self._attempts: dict[str, Attempt] = {}
        self._closed = False
        self._lanes: dict[str, Lane] = {
            "async": AsyncLane(self._report, result_bytes=result_bytes),
            "thread": ThreadLane(self._report, result_bytes=result_bytes, threads=threads),
            "process": ProcessLane(
                self._report,
                registry,
                result_bytes=result_bytes,
                processes=processes,
                lines=lines,
                first_modules=() if tracer is None else tracer.child_modules,
            ),
        }
        self.running: Mapping[str, Attempt] = MappingProxyType(self._attempts)
        """Claim id → attempt. A live view; another thread takes `list(executor.running)`, which is one step."""

    def start(self, attempt: Attempt) -> None:
        """Runs the attempt. Never blocks, never raises. A claim that is running already, and any after `close`, is ignored."""
        claim_id = attempt.claim_id
        if claim_id in self._runs or self._closed:
            return
        function = self._registry.get(attempt.function) or _missing(attempt.function)
        entry = None if self._tracer is None else self._tracer.begin(attempt)
        context = TaskContext(
            run_id=attempt.run_id,
            task_id=attempt.task_id,
            attempt=attempt.attempt,
            fencing_token=attempt.fencing_token,
            pod_id=self._pod_id,
            claim_id=claim_id,
            on_heartbeat=attempt.beat,
            effects=self._effects,
            headers=entry.headers if entry is not None else None,
            on_enter=entry.enter if entry is not None else None,
            index=attempt.index,
            lines=self._lines,
        )
        self._runs[claim_id] = run = Run(attempt, function, context)
        self._attempts[claim_id] = attempt
        if has_deadline(run):
            run.timer = self._loop.call_later(seconds_left(run), self._watch, run)
        self._lanes[function.kind].start(run)

    def stop(self, claim_id: str) -> None:
        """Ends the attempt without a report: async code is cancelled, a process killed, a thread's result dropped."""
        run = self._take(claim_id)
        if run is not None:
            run.context.cancel()
            self._lanes[run.function.kind].abort(run)
            if self._tracer is not None:
                self._tracer.stopped(run.attempt)

    def last_progress(self, claim_id: str) -> float | None:
        """When the attempt's code last called `ctx.heartbeat()`, or was started: monotonic seconds. None if it does not run here."""
        attempt = self._attempts.get(claim_id)
        return None if attempt is None else attempt.progress_seen

    async def close(self) -> None:
        """Stops what runs, and ends the lanes: at most about 2 s. Nothing is reported any more, and nothing can be started."""
        self._closed = True
        for claim_id in list(self._runs):
            self.stop(claim_id)
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _take(self, claim_id: str) -> Run | None:
        """The one way out of `running`."""
        run = self._runs.pop(claim_id, None)
        if run is not None:
            del self._attempts[claim_id]
            if run.timer is not None:
                run.timer.cancel()
        return run

    def _report(self, run: Run, outcome: Outcome) -> None:
        claim_id = run.attempt.claim_id
        if self._runs.get(claim_id) is not run:
            return
        self._take(claim_id)
        if self._tracer is not None:
            self._tracer.finished(run.attempt, outcome)
        try:
            self._on_done(run.attempt, outcome)
        except Exception as error:  # noqa: BLE001  # whoever listens, other attempts in the same batch must be reported too
            self._loop.call_exception_handler({"message": f"on_done failed for claim {claim_id}", "exception": error})

    def _watch(self, run: Run) -> None:
        """Ends a run whose time is over; else looks again when it may be."""
        lane = self._lanes[run.function.kind]
        lane.catch_up(run)
        if self._runs.get(run.attempt.claim_id) is not run:
            return  # in time after all
        left = seconds_left(run)
        if run.began is None:
            run.timer = self._loop.call_later(max(left, UNBEGUN_SECONDS), self._watch, run)
        elif left > CLOCK_SECONDS:
            run.timer = self._loop.call_later(left, self._watch, run)
        else:
            run.context.cancel()
            lane.expire(run, overdue(run))


def _missing(name: str) -> TaskFunction:
    """Stands in for a function that is not there, so that its attempt is reported as any other. A pod claims only what it has."""

    async def not_registered(**_: Any) -> None:
        raise TaskNotRegistered(name)

    return TaskFunction(not_registered)
