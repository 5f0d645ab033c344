"""The states of tasks and runs. Each says who moves a task or run out of it, and when."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task of a run stands.

    pending → ready → running → succeeded | failed | skipped | cancelled, and `waiting` between two attempts or during a wait.
    """

    PENDING = "pending"
    """Some predecessor has not ended. The commit that ends the last one makes the task `ready`, or `skipped` when its rule can no longer
    hold; a cancelled or stopping run makes it `cancelled`."""

    READY = "ready"
    """In the ready queue. The claim of any pod that has the function and serves the queue makes it `running`."""

    RUNNING = "running"
    """A pod holds the claim and its lease. That pod's commit ends the attempt; any pod's reaper makes the task `ready` again once the lease
    has run out; a pod that drains gives it back itself."""

    WAITING = "waiting"
    """Holds no slot and no lease. The pod that fires the timer makes it `ready` (after a backoff) or ends it (after a sleep)."""

    SUCCEEDED = "succeeded"
    """The task function returned a result, which is kept with the run. Nothing moves it any more."""

    FAILED = "failed"
    """No attempt is left, or the error is not one to try again, or too many attempts were lost. Only a retry of the run moves it."""

    SKIPPED = "skipped"
    """Never started, because its rule can no longer hold: a predecessor failed or was skipped. Only a retry of the run moves it."""

    CANCELLED = "cancelled"
    """The run was cancelled, or stopped after a failure, before this task had ended. Only a retry of the run moves it."""

    @property
    def terminal(self) -> bool:
        """True where the task has ended: no pod will move it on its own."""
        return self in _TERMINAL_TASK_STATES


class RunState(StrEnum):
    """Where a run stands."""

    SCHEDULED = "scheduled"
    """Accepted for a later time. The pod that fires its timer makes it `running`."""

    RUNNING = "running"
    """Accepted and not finished; tasks may all still be waiting. The commit that ends the last task finishes it."""

    PAUSED = "paused"
    """A user stopped new claims; what runs goes on. A user's resume makes it `running`."""

    SUCCEEDED = "succeeded"
    """Every task has ended, and none failed that counts. It goes away when its retention is over."""

    FAILED = "failed"
    """Every task has ended, and one failed that is not marked `allow_failure`. It goes away when its retention is over."""

    CANCELLED = "cancelled"
    """A user cancelled it before it had ended. It goes away when its retention is over."""

    @property
    def terminal(self) -> bool:
        """True where the run has finished: it waits only for its retention to end."""
        return self in _TERMINAL_RUN_STATES


_TERMINAL_TASK_STATES = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED})
_TERMINAL_RUN_STATES = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
