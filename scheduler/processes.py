"""The process lane: a few child processes for functions that need a whole CPU, or that must be killed when their time is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from typing import Any

from engine.errors import TaskError
from scheduler.child_lines import lines_from_wire
from scheduler.effect_pipe import answer_question
from scheduler.failures import ProcessDied, failed
from scheduler.lanes import Report, Run
from scheduler.registry import Registry
from scheduler.task_lines import LineSink
from scheduler.task_output import capture_level
from scheduler.wire import WireError, outcome_from_wire
from scheduler.worker import Worker, search_path

START_SECONDS = 60.0
"""A child that has not imported its modules by then is killed."""
CLOSE_SECONDS = 2.0
BEAT_SECONDS = 0.1
"""At most one sign of life in this time comes from a child, four within its heartbeat timeout."""


class ProcessLane:
    """Gives runs, first come first served, to at most `processes` children. They are started when needed, used again and again, and killed
    together with a run that times out or is stopped. One whose end nobody asked for fails its run, and no other."""

    def __init__(
        self,
        report: Report,
        registry: Registry,
        *,
        result_bytes: int,
        processes: int,
        lines: LineSink | None = None,
        first_modules: tuple[str, ...] = (),
    ) -> None:
        self._report = report
        self._lines = lines
        self._registry = registry
        self._result_bytes = result_bytes
        self._limit = processes
        self._first_modules = first_modules
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Run] = deque()
        self._workers: list[Worker] = []
        """Those that may get runs: starting, idle or busy."""
        self._dying: set[Worker] = set()
        """Killed, not yet gone; for `close` to wait for."""
        self._gone = asyncio.Event()
        self._closed = False

    def start(self, run: Run) -> None:
        self._waiting.append(run)
        self._pump()

    def abort(self, run: Run) -> None:
        worker: Worker | None = run.work
        if worker is None:
            self._waiting.remove(run)
        elif worker.run is run:
            self._kill(worker)

    def catch_up(self, run: Run) -> None:
        worker: Worker | None = run.work
        if worker is not None:
            worker.read()

    def expire(self, run: Run, error: TaskError) -> None:
        self._kill(run.work)
        self._report(run, failed(error))

    async def close(self) -> None:
        self._closed = True
        for worker in list(self._workers):
            self._kill(worker)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._dying:
                    self._gone.clear()
                    await self._gone.wait()

    def worker_said(self, worker: Worker, message: dict[str, Any]) -> None:
        """A message from a child; WireError where it is none of ours, which makes the worker kill its process."""
        run = worker.run
        op = message.get("op")
        if op == "effect":
            context = run.context if run is not None and message.get("claim_id") == run.attempt.claim_id else None
            answer_question(message, context, lambda answer: self._answer(worker, answer))
            return
        if op == "ready":
            worker.ready = True
        elif run is None or message.get("claim_id") != run.attempt.claim_id:
            return  # about a run that was dropped
        elif op == "beat":
            run.context.heartbeat(message.get("progress"))
            return
        elif op == "lines":
            if self._lines is not None:
                self._lines.receive(run.context, *lines_from_wire(message))
            return
        elif op == "done":
            outcome = outcome_from_wire(message.get("outcome"))
            worker.run = None
            self._report(run, outcome)
        else:
            raise WireError(f"the operation {op!r}")
        self._pump()

    def _answer(self, worker: Worker, answer: dict[str, Any]) -> None:
        """Tells a child about an effect; from any thread. One that is gone, or is being killed, is told nothing."""

        def tell() -> None:
            if worker in self._workers:
                worker.send(answer)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(tell)

    def worker_ended(self, worker: Worker, how: str) -> None:
        self._dying.discard(worker)
        self._gone.set()
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        run, worker.run = worker.run, None
        if run is None and not worker.ready and self._waiting:
            # It died before it could take a run. Were none to fail, one child after the other would be started for ever.
            run = self._waiting.popleft()
        if run is not None:
            self._report(run, failed(ProcessDied(f"the child process {how}")))
        self._pump()

    def _kill(self, worker: Worker) -> None:
        worker.run = None
        self._workers.remove(worker)
        self._dying.add(worker)
        worker.kill()
        # Not at once: where all runs are stopped together, those that wait must not get a new child each time one is killed.
        self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Hands waiting runs to idle children, and starts children for those that are left."""
        if self._closed:
            return
        idle = [worker for worker in self._workers if worker.ready and worker.run is None]
        while self._waiting and idle:
            self._assign(self._waiting.popleft(), idle.pop())
        starting = sum(not worker.ready for worker in self._workers)
        for _ in range(min(len(self._waiting) - starting, self._limit - len(self._workers))):
            worker = Worker(self, self._hello())
            self._workers.append(worker)
            self._loop.call_later(START_SECONDS, self._check_started, worker)

    def _assign(self, run: Run, worker: Worker) -> None:
        worker.run = run
        run.work = worker
        run.began = time.monotonic()
        attempt, function, context = run.attempt, run.function, run.context
        worker.send(
            {
                "op": "run",
                "claim_id": attempt.claim_id,
                "function": {"name": function.name, "module": function.module, "qualname": function.qualname},
                "args": dict(attempt.args),
                "context": {
                    "run_id": context.run_id,
                    "task_id": context.task_id,
                    "attempt": context.attempt,
                    "fencing_token": context.fencing_token,
                    "pod_id": context.pod_id,
                    "headers": dict(context.headers),
                },
                "result_bytes": self._result_bytes,
                "beat_seconds": min(BEAT_SECONDS, (attempt.heartbeat_timeout_seconds or 1) / 4),
            }
        )

    def _check_started(self, worker: Worker) -> None:
        if not worker.ready and worker in self._workers:
            worker.kill()

    def _hello(self) -> dict[str, Any]:
        return {
            "path": search_path(),
            "environ": {"PYTHONPATH": os.environ.get("PYTHONPATH")},
            "modules": [*self._first_modules, *sorted({function.module for function in self._registry if function.kind == "process"})],
            "log_level": logging.getLogger().getEffectiveLevel(),
            "task_log_level": None if self._lines is None else capture_level(),
        }
