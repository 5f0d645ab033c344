"""The thread lane: a few daemon threads for functions that block.

Not `concurrent.futures`, because a thread there that hangs blocks the interpreter's exit, and each result there wakes the loop by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from engine.errors import TaskError
from engine.outcome import Outcome
from scheduler.calls import call_blocking
from scheduler.failures import ThreadUnavailable, failed, where_thread_is
from scheduler.lanes import Report, Run

GROW_SECONDS = 0.005
"""A job that has waited this long (the interpreter's switch interval) waits for a thread, not for its turn: then there are too few."""


class Job:
    """A run in the hands of the threads. Everything but `run` changes only under the lane's lock."""

    __slots__ = ("dropped", "finished", "run", "thread")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.thread: int | None = None
        """Ident of the thread that has taken it."""
        self.finished = False
        self.dropped = False
        """Nobody waits for its result: not to be begun; if begun, its thread is counted out and ends with it."""


class ThreadLane:
    """Runs blocking functions in at most `threads` threads, made when a job waits. A thread whose job was dropped is replaced.

    Results come back in batches: a thread appends to a deque and wakes the loop only if no wake-up is on its way.
    """

    def __init__(self, report: Report, *, result_bytes: int, threads: int) -> None:
        self._report = report
        self._result_bytes = result_bytes
        self._limit = threads
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._finished: deque[tuple[Run, Outcome]] = deque()
        self._waking = False
        self._threads = 0
        """Threads that take jobs; only the loop's thread changes it."""
        self._growing = False
        self._newest: Job | None = None

    @property
    def size(self) -> int:
        """Threads that take jobs; abandoned ones are not counted."""
        return self._threads

    def start(self, run: Run) -> None:
        run.work = self._newest = job = Job(run)
        self._jobs.put(job)
        if self._threads == 0:
            self._add_threads(1)
        elif not self._growing and self._threads < self._limit:
            self._growing = True
            self._loop.call_later(GROW_SECONDS, self._grow, job)

    def abort(self, run: Run) -> None:
        job: Job = run.work
        with self._lock:
            if job.finished:
                return
            job.dropped = True
            abandoned = job.thread is not None
        if abandoned:
            self._threads -= 1
            if not self._jobs.empty():
                self._add_threads(1)

    def catch_up(self, run: Run) -> None:
        """Its signs of life are noted where they are made; its result is on its way."""

    def expire(self, run: Run, error: TaskError) -> None:
        job: Job = run.work
        if job.finished:
            return  # in time after all: its report is on its way
        trace = None if job.thread is None else where_thread_is(job.thread)
        self.abort(run)
        self._report(run, failed(error, trace=trace))

    async def close(self) -> None:
        """Lets idle threads end. Busy ones end after their job, or with the process."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _grow(self, watched: Job) -> None:
        self._growing = False
        newest = self._newest
        if newest is None:
            return
        if watched.thread is None and not watched.dropped:
            self._add_threads(min(self._jobs.qsize(), self._limit - self._threads))
        elif newest is not watched and newest.thread is None and not newest.dropped:
            self._growing = True
            self._loop.call_later(GROW_SECONDS, self._grow, newest)

    def _add_threads(self, count: int) -> None:
        for _ in range(count):
            try:
                threading.Thread(target=self._work, name="peerflow-task", daemon=True).start()
            except RuntimeError as error:
                if self._threads == 0:
                    self._refuse_all(error)
                return
            self._threads += 1

    def _refuse_all(self, error: RuntimeError) -> None:
        """No thread at all, and none to be had: the jobs fail, so that they may be tried again, here or on another pod."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                self._loop.call_soon(self._report, job.run, failed(ThreadUnavailable(str(error))))

    def _deliver(self) -> None:
        # In this order: a thread that still sees the flag set has appended before it is cleared, and is delivered below.
        self._waking = False
        while self._finished:
            self._report(*self._finished.popleft())

    # Below: in the threads.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._begin(job) and not self._run(job):
                return

    def _begin(self, job: Job) -> bool:
        with self._lock:
            if job.dropped:
                return False
            job.thread = threading.get_ident()
            job.run.began = time.monotonic()
            return True

    def _run(self, job: Job) -> bool:
        """True while this thread shall go on; False after a job that was dropped, because then it has been replaced."""
        run = job.run
        # A copy for each job: variables that one task sets must not be seen by the next.
        outcome = contextvars.copy_context().run(call_blocking, run.function, run.attempt.args, run.context, self._result_bytes)
        if os.getpid() != self._pid:
            os._exit(0)  # the user's code forked and let the copy return: there must not be two pods
        with self._lock:
            if job.dropped:
                return False
            job.finished = True
        self._finished.append((run, outcome))
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._deliver, context=self._context.copy())
            except RuntimeError:
                return False  # the loop is closed: the pod is ending, nobody listens
        return True
