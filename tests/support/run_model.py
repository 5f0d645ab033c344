"""What the scripts promise, as a small model in plain Python: no server, no counters, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.graphs import RunGraph

ENDED = {"succeeded", "failed", "skipped"}


@dataclass
class ModelTask:
    state: str = "pending"
    attempt: int = 0
    lost: int = 0
    claim: str | None = None
    """Its current claim's id, while running."""


@dataclass
class RunModel:
    """One run. Every method is the effect of one script on it."""

    graph: RunGraph
    budget: int
    """Edges that the call which ends a task passes on itself."""
    state: str = "running"
    tasks: list[ModelTask] = field(default_factory=list[ModelTask])
    told: dict[tuple[int, int], bool] = field(default_factory=dict[tuple[int, int], bool])
    """(predecessor, task) that the task has heard of → whether the predecessor succeeded."""
    slices: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(index, offset) of successors that are still to be told."""

    def __post_init__(self) -> None:
        self.tasks = [ModelTask() for _ in self.graph.graph.tasks]
        for root in self.graph.graph.roots:
            self.tasks[root].state = "ready"

    @property
    def ready(self) -> set[int]:
        return {index for index, task in enumerate(self.tasks) if task.state == "ready"} if self.state == "running" else set()

    def claimed(self, index: int, claim: str) -> None:
        task = self.tasks[index]
        assert index in self.ready
        task.state, task.claim, task.attempt = "running", claim, task.attempt + 1

    def commit(self, index: int, claim: str, outcome: str) -> str:
        task = self.tasks[index]
        if task.claim != claim:
            return "STALE"
        task.claim = None
        if self.state != "running":
            task.state = "cancelled"
            return "TERMINAL"
        if outcome in {"retry", "sleep"}:
            task.state = "waiting"
        else:
            self._end(index, outcome, self.budget)
        return "OK"

    def give_back(self, index: int, claim: str) -> str:
        """Released, or never heard of."""
        task = self.tasks[index]
        if task.claim != claim:
            return "STALE"
        task.claim = None
        if self.state == "running":
            task.state, task.attempt = "ready", task.attempt - 1
        else:
            task.state = "cancelled"
        return "OK"

    def lose(self, index: int, max_lost: int) -> None:
        task = self.tasks[index]
        task.claim = None
        if self.state != "running":
            task.state = "cancelled"
            return
        task.lost += 1
        task.state = "ready"
        if task.lost > max_lost:
            self._end(index, "failed", 0)

    def fire(self, index: int, kind: str) -> None:
        """A retry or a sleep is over."""
        if self.state != "running":
            return
        if kind == "retry":
            self.tasks[index].state = "ready"
        else:
            self._end(index, "succeeded", 0)

    def pass_on(self, index: str, start: int, count: int) -> str:
        if (index, start) not in self.slices:
            return "STALE"
        self.slices.remove((index, start))
        if self.state != "running":
            return "TERMINAL"
        self._tell(int(index), start, count)
        if start + count < len(self.graph.graph.successors[int(index)]):
            self.slices.add((index, start + count))
        self._maybe_done()
        return "OK"

    def cancel(self) -> None:
        if self.state == "running":
            self.state = "cancelled"

    def _end(self, index: int, state: str, budget: int) -> None:
        self.tasks[index].state = state
        allowed = self.graph.graph.tasks[index].allow_failure
        if state == "failed" and not allowed and self.graph.graph.on_failure == "stop":
            self.state = "failed"
            return
        self._tell(index, 0, budget)
        if len(self.graph.graph.successors[index]) > budget or not budget:
            self.slices.add((str(index), budget))
        self._maybe_done()

    def _tell(self, index: int, start: int, count: int) -> None:
        succeeded = self.tasks[index].state == "succeeded"
        for after in self.graph.graph.successors[index][start : start + count]:
            assert (index, after) not in self.told
            self.told[index, after] = succeeded
            heard = [good for (_, to), good in self.told.items() if to == after]
            if not succeeded and heard.count(False) == 1:
                self.tasks[after].state = "skipped"
                self.slices.add((str(after), 0))
            elif all(heard) and len(heard) == self.graph.graph.in_degree(after):
                self.tasks[after].state = "ready"

    def _maybe_done(self) -> None:
        if all(task.state in ENDED for task in self.tasks):
            hard = any(task.state == "failed" and not self.graph.graph.tasks[i].allow_failure for i, task in enumerate(self.tasks))
            self.state = "failed" if hard else "succeeded"
