"""What `explain` answers: for each task why it does not run, what that leads back to, and what it has waited for."""

from __future__ import annotations

from dataclasses import dataclass

from engine.explain import Interval
from engine.reasons import Reason
from engine.states import TaskState
from storage.views import PodView, RunView


@dataclass(frozen=True, slots=True)
class ReasonNow:
    """Why a task does not run at this moment, or that it runs or has ended."""

    reason: Reason
    text: str
    since_ms: int
    until_ms: int | None = None
    """When a backoff or a sleep is over."""
    parents: tuple[str, ...] = ()
    """Ids of predecessors that have not ended, up to 10."""
    open_parents: int = 0
    """How many there are."""
    pods: tuple[PodView, ...] = ()
    pod: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A task on the way from one that waits for parents to the one that holds it up."""

    id: str
    state: TaskState
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class TaskExplanation:
    index: int
    id: str
    function: str
    queue: str
    state: TaskState
    now: ReasonNow
    chain: tuple[Link, ...]
    """From an open parent to the root cause; empty for a task that does not wait for parents, or whose cause was not found in bounds."""
    chain_length: int
    """Tasks of the whole chain, of which `chain` holds the first and the last."""
    intervals: tuple[Interval, ...]
    """The last of them."""
    left_out: int
    """Earlier intervals that are not in `intervals`."""
    waited_ms: dict[Reason, int]
    """Sums over all intervals."""
    summary: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A page of a run."""

    run: RunView
    now_ms: int
    tasks: list[TaskExplanation]
    next_start: int | None
    """Index of the first task behind this page; None after the last."""
