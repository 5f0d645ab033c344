"""What the scripts promise for one run, as a small model in plain Python: no server, no counters, no clock.

It is the oracle of the random walks on real servers (`tests.support.walk`), and the transition function of the exhaustive search
(`tests.support.protocol`).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from engine.graph import Graph

ENDED = frozenset({"succeeded", "failed", "skipped"})


@dataclass(frozen=True, slots=True)
class ModelTask:
    state: str = "pending"
    attempt: int = 0
    lost: int = 0
    claim: str | None = None
    """Its current claim's id, while running."""


@dataclass
class RunModel:
    """One run. Every method is the effect of one script on it."""

    graph: Graph
    budget: int
    """Edges that the call which ends a task passes on itself."""
    state: str = "running"
    tasks: list[ModelTask] = field(default_factory=list[ModelTask])
    queue: set[int] = field(default_factory=set[int])
    """Tasks in the ready queue."""
    timers: dict[int, str] = field(default_factory=dict[int, str])
    """Task that waits → what for: `retry` or `sleep`."""
    heard: list[tuple[tuple[int, bool], ...]] = field(default_factory=list[tuple[tuple[int, bool], ...]])
    """For each task: predecessors that it has been told of, and whether they succeeded, in that order."""
    slices: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """(index, offset) of successors that are still to be told."""
    swept: bool = False

    def __post_init__(self) -> None:
        if not self.tasks:
            self.tasks = [ModelTask() for _ in self.graph.tasks]
            self.heard = [()] * len(self.tasks)
            for root in self.graph.roots:
                self._make_ready(root)

    def copy(self) -> RunModel:
        return type(self)(
            self.graph, self.budget, self.state, self.tasks.copy(), self.queue.copy(), self.timers.copy(), self.heard.copy(),
            self.slices.copy(), self.swept,
        )  # fmt: skip

    def key(self) -> Hashable:
        """Equal for equal states."""
        return (
            self.state,
            tuple((task.state, task.attempt, task.lost, task.claim) for task in self.tasks),
            frozenset(self.queue),
            frozenset(self.timers.items()),
            tuple(self.heard),
            frozenset(self.slices),
        )

    @property
    def claimable(self) -> set[int]:
        """What a pod gets if it asks: entries of an ended run, and of tasks that are not ready, are thrown away instead."""
        return {index for index in self.queue if self.tasks[index].state == "ready"} if self.state == "running" else set()

    def holds(self, index: int, claim: str) -> bool:
        """The fence: whether the claim is the task's current one."""
        return self.tasks[index].claim == claim

    def start(self, index: int, claim: str) -> None:
        """A pod claims the task."""
        assert index in self.claimable
        self.queue.remove(index)
        self._set(index, "running", attempt=self.tasks[index].attempt + 1, claim=claim)

    def commit(self, index: int, claim: str, outcome: str) -> str:
        if not self.holds(index, claim):
            return "STALE"
        if self.state != "running":
            self._set(index, "cancelled")
            return "TERMINAL"
        if outcome in {"retry", "sleep"}:
            self._set(index, "waiting")
            self.timers[index] = outcome
        else:
            self._end(index, outcome, self.budget)
        return "OK"

    def give_back(self, index: int, claim: str) -> str:
        """Released, or never heard of: uncharged."""
        if not self.holds(index, claim):
            return "STALE"
        if self.state == "running":
            self._make_ready(index, attempt=self.tasks[index].attempt - 1)
        else:
            self._set(index, "cancelled")
        return "OK"

    def lose(self, index: int, max_lost: int) -> None:
        """Its pod is judged dead."""
        if self.state != "running":
            self._set(index, "cancelled")
            return
        lost = self.tasks[index].lost + 1
        if lost > max_lost:
            self._set(index, "running", lost=lost)
            self._end(index, "failed", 0)
        else:
            self._make_ready(index, lost=lost)

    def fire(self, index: int) -> None:
        """A retry or a sleep is over."""
        kind = self.timers.pop(index)
        if self.state != "running":
            return
        if kind == "retry":
            self._make_ready(index)
        else:
            self._end(index, "succeeded", 0)

    def pass_on(self, index: int, start: int) -> str:
        """A slice of `budget` successors."""
        if (index, start) not in self.slices:
            return "STALE"
        self.slices.remove((index, start))
        if self.state != "running":
            return "TERMINAL"
        self._tell(index, start, self.budget)
        if start + self.budget < len(self.graph.successors[index]):
            self.slices.add((index, start + self.budget))
        self._maybe_done()
        return "OK"

    def cancel(self) -> str:
        """Answers the run's state afterwards."""
        if self.state == "running":
            self.state = "cancelled"
        return self.state

    def sweep(self) -> bool:
        """Takes an ended run's tasks out of the ready queue and the timers. Answers whether that was due still: it is once."""
        due, self.swept = not self.swept and self.state != "running", True
        self.queue.clear()
        self.timers.clear()
        return due

    def _set(self, index: int, state: str, *, attempt: int | None = None, lost: int | None = None, claim: str | None = None) -> None:
        task = self.tasks[index]
        self.tasks[index] = ModelTask(state, task.attempt if attempt is None else attempt, task.lost if lost is None else lost, claim)

    def _make_ready(self, index: int, *, attempt: int | None = None, lost: int | None = None) -> None:
        self._set(index, "ready", attempt=attempt, lost=lost)
        self.queue.add(index)

    def _end(self, index: int, state: str, budget: int) -> None:
        self._set(index, state)
        if state == "failed" and not self.graph.tasks[index].allow_failure and self.graph.on_failure == "stop":
            self.state = "failed"
            return
        self._tell(index, 0, budget)
        if len(self.graph.successors[index]) > budget or not budget:
            self.slices.add((index, budget))
        self._maybe_done()

    def _tell(self, index: int, start: int, count: int) -> None:
        succeeded = self.tasks[index].state == "succeeded"
        for after in self.graph.successors[index][start : start + count]:
            heard = self.heard[after] = (*self.heard[after], (index, succeeded))
            failures = sum(not good for _, good in heard)
            if not succeeded and failures == 1:
                self.tasks[after] = replace(self.tasks[after], state="skipped")
                self.slices.add((after, 0))
            elif not failures and len(heard) == self.graph.in_degree(after):
                self._make_ready(after)

    def _maybe_done(self) -> None:
        if all(task.state in ENDED for task in self.tasks):
            hard = any(task.state == "failed" and not self.graph.tasks[i].allow_failure for i, task in enumerate(self.tasks))
            self.state = "failed" if hard else "succeeded"
