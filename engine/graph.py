"""The compiled form of a definition: tasks by index, who comes after whom.

Indices follow the definition's order and never change during a run, so storage and commits speak of tasks by index.
All algorithms are iterative: a graph may be 100,000 tasks long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from engine.definition import RetryPolicy


@dataclass(frozen=True, slots=True)
class GraphTask:
    """One node: what to call, and how. Defaults of the run are filled in."""

    index: int
    id: str
    function: str
    args: dict[str, JsonValue]
    queue: str
    priority: int
    """-100 … 100, higher first."""
    retry: RetryPolicy
    timeout_seconds: float | None
    """For one attempt; None is no limit."""
    heartbeat_timeout_seconds: float | None
    """Between two signs of life of an attempt's code; None is no limit."""
    allow_failure: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph without cycles and with at least one task; `compile_definition` makes no other."""

    name: str | None
    tasks: tuple[GraphTask, ...]
    index_of: dict[str, int]
    """Task id → index."""
    successors: tuple[tuple[int, ...], ...]
    """Index → indices that wait for it, ascending."""
    predecessors: tuple[tuple[int, ...], ...]
    """Index → indices that it waits for, in the order of its `depends_on`."""
    roots: tuple[int, ...]
    """Indices without predecessors, ascending."""
    on_failure: Literal["continue", "stop"]

    def in_degree(self, index: int) -> int:
        """How many tasks must end before this one is decided."""
        return len(self.predecessors[index])

    @property
    def edge_count(self) -> int:
        return sum(map(len, self.predecessors))

    def order(self) -> list[str]:
        """Task ids such that each comes after everything it depends on; among equals the definition's order."""
        return [self.tasks[index].id for index in self._topological()]

    def critical_path(self) -> list[str]:
        """Task ids of a longest chain of dependencies, first to last, each task counted as one."""
        length = [1] * len(self.tasks)
        before = [-1] * len(self.tasks)
        for index in self._topological():
            reached = length[index] + 1
            for successor in self.successors[index]:
                if reached > length[successor]:
                    length[successor] = reached
                    before[successor] = index
        index = length.index(max(length))
        path: list[str] = []
        while index >= 0:
            path.append(self.tasks[index].id)
            index = before[index]
        path.reverse()
        return path

    def _topological(self) -> list[int]:
        return topological_order(self.successors, [len(before) for before in self.predecessors])


def topological_order(successors: Sequence[Sequence[int]], in_degrees: list[int]) -> list[int]:
    """Indices such that each comes after all its predecessors (Kahn); those on or behind a cycle are left out.

    Consumes `in_degrees`: what is left above zero belongs to the tasks left out. O(tasks + edges).
    """
    queue = deque(index for index, degree in enumerate(in_degrees) if degree == 0)
    order: list[int] = []
    while queue:
        index = queue.popleft()
        order.append(index)
        for successor in successors[index]:
            in_degrees[successor] -= 1
            if in_degrees[successor] == 0:
                queue.append(successor)
    return order
