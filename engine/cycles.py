"""Finds cycles of dependencies and shows each as a path. Iterative: a cycle may be 100,000 tasks long."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from engine.graph import topological_order

Successors = Sequence[Sequence[int]]


def find_cycles(successors: Successors, in_degrees: list[int]) -> list[list[int]]:
    """One cycle for each knot of tasks that depend on each other; empty where there is none.

    A cycle is a list of indices, each followed by one that depends on it, and the last by the first; the shortest through the knot's lowest
    index, with which it starts. Consumes `in_degrees`. O(tasks + edges).
    """
    done = topological_order(successors, in_degrees)
    if len(done) == len(successors):
        return []
    open_tasks = set(range(len(successors))).difference(done)
    knots = sorted((min(knot), knot) for knot in _knots(successors, sorted(open_tasks)))
    return [_shortest_cycle(successors, start, set(knot)) for start, knot in knots]


def _knots(successors: Successors, tasks: list[int]) -> list[list[int]]:
    """Strongly connected components with a cycle in them (Tarjan 1972, with an explicit stack). `tasks` is closed under successors."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    knots: list[list[int]] = []
    for root in tasks:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(successors[root]))]
        while work:
            task, rest = work[-1]
            for successor in rest:
                if successor not in order:
                    order[successor] = low[successor] = len(order)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(successors[successor])))
                    break
                if successor in on_stack:
                    low[task] = min(low[task], order[successor])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[task])
                if low[task] == order[task]:
                    knot = _pop_through(task, stack, on_stack)
                    if len(knot) > 1 or task in successors[task]:
                        knots.append(knot)
    return knots


def _pop_through(task: int, stack: list[int], on_stack: set[int]) -> list[int]:
    popped = [stack.pop()]
    while popped[-1] != task:
        popped.append(stack.pop())
    on_stack.difference_update(popped)
    return popped


def _shortest_cycle(successors: Successors, start: int, knot: set[int]) -> list[int]:
    """Breadth first from `start` until an edge leads back to it; inside a knot there is always one."""
    before: dict[int, int] = {}
    queue = deque([start])
    while True:
        task = queue.popleft()
        for successor in successors[task]:
            if successor == start:
                return _path_back(task, start, before)
            if successor in knot and successor not in before:
                before[successor] = task
                queue.append(successor)


def _path_back(task: int, start: int, before: dict[int, int]) -> list[int]:
    path = [task]
    while path[-1] != start:
        path.append(before[path[-1]])
    path.reverse()
    return path
