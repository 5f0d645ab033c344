"""What the executor's three lanes share: a run, and what a lane must be able to do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from engine.errors import TaskError
from engine.outcome import Outcome
from scheduler.attempt import Attempt
from scheduler.context import TaskContext
from scheduler.registry import TaskFunction


class Run:
    """An attempt on its way through a lane. It counts as long as the executor holds it; what a dropped one reports is ignored."""

    __slots__ = ("attempt", "began", "context", "function", "held_up_seconds", "timed_out", "timer", "work")

    def __init__(self, attempt: Attempt, function: TaskFunction, context: TaskContext) -> None:
        self.attempt = attempt
        self.function = function
        self.context = context
        self.began: float | None = None
        """When its code began, monotonic seconds; None while it waits for a thread or a process. Its deadlines count from here."""
        self.held_up_seconds = 0.0
        """By how much its next sign of life is allowed to come later, because others blocked the loop."""
        self.timer: asyncio.TimerHandle | None = None
        """The executor's; fires when a deadline may have come."""
        self.timed_out: Outcome | None = None
        """Set by the async lane between a deadline and the end of the cancelled code."""
        self.work: Any = None
        """The lane's own: the asyncio task, the job, the child process."""


Report = Callable[[Run, Outcome], None]
"""Ends a run, in the loop's thread. A second report for a run, or one after it was stopped, does nothing."""


class Lane(Protocol):
    """One way to run code. All methods are called in the loop's thread, do not block, and do not raise."""

    def start(self, run: Run) -> None:
        """Runs the function soon, and reports once."""
        ...

    def abort(self, run: Run) -> None:
        """Ends the code, or abandons it where that is impossible. The executor has dropped the run already."""
        ...

    def catch_up(self, run: Run) -> None:
        """Takes in what the code has said up to now: a result, signs of life. The executor still holds the run."""
        ...

    def expire(self, run: Run, error: TaskError) -> None:
        """Ends the code as `abort` does, and reports the error: a deadline has come. The executor still holds the run."""
        ...

    async def close(self) -> None:
        """Ends what is still there. The executor has dropped all runs already."""
        ...
