"""A run's events, told one after the other: where each task stands before and after each of them.

The replay believes every event, also one that should not have happened: one fault is then reported once, and not again by all that follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.states import RunState, TaskState
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation
from storage.views import EventView

AFTER: dict[str, TaskState] = {
    "task_ready": TaskState.READY,
    "task_started": TaskState.RUNNING,
    "task_succeeded": TaskState.SUCCEEDED,
    "task_failed": TaskState.FAILED,
    "task_skipped": TaskState.SKIPPED,
    "task_cancelled": TaskState.CANCELLED,
    "task_retry": TaskState.WAITING,
    "task_sleep": TaskState.WAITING,
}
"""Where a task stands after an event."""
GIVEN_BACK = frozenset({"task_lost", "task_released", "task_unheard"})
"""A claim that ended without a result. In a live run the same atomic step moves the task on; in one that has ended it is cancelled."""
ENDS_OF_CLAIMS = frozenset({"task_succeeded", "task_failed", "task_retry", "task_sleep", "task_cancelled"}) | GIVEN_BACK
RUN_ENDS = {"run_succeeded": RunState.SUCCEEDED, "run_failed": RunState.FAILED, "run_cancelled": RunState.CANCELLED}
EFFECTS = frozenset({"effect_sent", "effect_confirmed"})
REPAIRS = frozenset({"task_repaired", "run_repaired"})
"""The audit has put back what Redis had forgotten."""
ASIDE = EFFECTS | REPAIRS
"""Events that move nothing."""
RUN_EVENTS = frozenset({"run_created", "run_repaired", *RUN_ENDS})
TASK_EVENTS = frozenset({"task_repaired", *AFTER, *GIVEN_BACK, *EFFECTS})


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where a task stands."""

    state: TaskState = TaskState.PENDING
    given_back: bool = False
    """Its claim has ended, and it is nowhere else yet. No reader ever sees it so."""
    attempts: int = 0
    """The number of the last attempt that was charged or runs."""
    lost: int = 0
    failures: int = 0
    pod: str | None = None
    """Of the current claim, or the last one."""
    last: EventView | None = None
    """The event that brought it here."""
    came_from: TaskState = TaskState.PENDING
    """Where it was before that event."""

    @property
    def last_type(self) -> str:
        return "" if self.last is None else self.last.type


@dataclass(slots=True)
class World:
    """A run in the middle of its events."""

    record: RunRecord
    tasks: dict[str, TaskPlace] = field(default_factory=dict[str, TaskPlace])
    ended: Literal["", "stopped", "cancelled", "finished"] = ""
    """`stopped`: by a failure with on_failure stop; from that event on, although the run's own event follows a little later."""
    state: RunState = RunState.RUNNING
    """As the run's own events say."""
    hard_failures: int = 0
    """Tasks that failed, and may not."""
    done: int = 0
    """Tasks that succeeded, failed or were skipped."""
    given_back: list[str] = field(default_factory=list[str])
    """The task whose claim has just ended, and that must move on with the next event."""
    last: EventView | None = None
    """The event before."""
    logs: dict[str, dict[int, Literal["failed", "lost"]]] = field(default_factory=dict[str, dict[int, Literal["failed", "lost"]]])
    """Task id → attempt → how it ended, of the attempts that were tried again."""

    def __post_init__(self) -> None:
        self.tasks = {task.id: TaskPlace() for task in self.record.graph.tasks}
        self.logs = {task.id: {} for task in self.record.graph.tasks}

    def parents(self, task_id: str) -> dict[str, TaskState]:
        """Predecessors, and where they stand."""
        graph = self.record.graph
        ids = (graph.tasks[index].id for index in graph.predecessors[graph.index_of[task_id]])
        return {before: self.tasks[before].state for before in ids}

    def violation(self, invariant: str, text: str, task_id: str | None = None) -> Violation:
        return Violation(invariant, self.record.run.run_id, task_id, text)

    def apply(self, event: EventView) -> None:
        """Believes an event."""
        self.last = event
        if event.type in RUN_ENDS:
            self.state = RUN_ENDS[event.type]
            self.ended = self.ended or ("cancelled" if self.state is RunState.CANCELLED else "finished")
        if event.task_id is not None and event.type not in ASIDE:
            before = self.tasks[event.task_id]
            after = self._moved(before, event)
            self.tasks[event.task_id] = after
            self._count(before, after, event)

    def _moved(self, before: TaskPlace, event: EventView) -> TaskPlace:
        kind, alive = event.type, not self.ended
        after = replace(before, last=event, came_from=before.state, given_back=False)
        if kind in GIVEN_BACK:
            lost = before.lost + (kind == "task_lost" and alive)
            attempts = before.attempts - (kind != "task_lost" and alive)
            state = TaskState.RUNNING if alive else TaskState.CANCELLED
            return replace(after, state=state, given_back=alive, lost=lost, attempts=attempts)
        after = replace(after, state=AFTER[kind])
        if kind == "task_started":
            return replace(after, attempts=event.attempt or 0, pod=event.pod)
        if kind == "task_retry" or (kind == "task_failed" and not before.given_back):
            return replace(after, failures=before.failures + 1)
        return after

    def _count(self, before: TaskPlace, after: TaskPlace, event: EventView) -> None:
        task_id = event.task_id or ""
        self.given_back = [task_id] if after.given_back else []
        self.done += is_done(after.state) - is_done(before.state)
        if event.type == "task_retry":
            self.logs[task_id][before.attempts] = "failed"
        elif event.type == "task_ready" and before.last_type == "task_lost":
            self.logs[task_id][before.attempts] = "lost"
        graph = self.record.graph
        if after.state is TaskState.FAILED and not graph.tasks[graph.index_of[task_id]].allow_failure:
            self.hard_failures += before.state is not TaskState.FAILED
            if graph.on_failure == "stop":
                self.ended = self.ended or "stopped"


def is_done(state: TaskState) -> bool:
    """True for the three ends that a task of a live run can have."""
    return state in {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED}


def replay(world: World) -> Iterator[EventView]:
    """Each event of the run, `world` being as it was before it. The log must be one that `event_log.in_log` finds nothing in."""
    for event in world.record.events:
        yield event
        world.apply(event)
