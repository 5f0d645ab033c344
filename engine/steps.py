"""Lays steps out as tasks and joins.

A join says that each of its `after` waits for every one of its `before`. It stands for a product of edges, so two parallel steps of 1,000
tasks are one join until somebody wants the million edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.definition import NO_RETRY, Step, TaskItem, TaskSpec
from engine.limits import ID_CHARS, Limits
from engine.problems import Problems

Indices = tuple[int, ...]


@dataclass(slots=True)
class Layout:
    """Tasks in the document's order, and what waits for what."""

    specs: list[TaskSpec] = field(default_factory=list[TaskSpec])
    pointers: list[str] = field(default_factory=list[str])
    """Of the items, in the posted document."""
    plain: list[bool] = field(default_factory=list[bool])
    """True where the item is only a function's name."""
    joins: list[tuple[Indices, Indices]] = field(default_factory=list[tuple[Indices, Indices]])
    """(before, after); no task is `after` in more than one."""


def lay_out(steps: list[Step], limits: Limits, problems: Problems) -> Layout:
    """The layout of steps that run one after the other. Steps nested deeper than the limit are a problem, and left out."""
    layout = Layout()
    named: dict[str, TaskSpec] = {}

    def place(item: TaskItem, pointer: str, level: int) -> tuple[Indices, Indices]:
        """Adds an item; answers with the tasks that it starts with, and those that it ends with."""
        if not isinstance(item, Step):
            plain = isinstance(item, str)
            if isinstance(item, str):
                item = named.get(item) or named.setdefault(item, _plain_task(item))
            index = (len(layout.specs),)
            layout.specs.append(item)
            layout.pointers.append(pointer)
            layout.plain.append(plain)
            return index, index
        if level > limits.nesting:
            problems.add("limit-exceeded", pointer, f"the step is nested deeper than the limit of {limits.nesting}", "nest less")
            return (), ()
        placed = (place(inner, f"{pointer}/tasks/{position}", level + 1) for position, inner in enumerate(item.tasks))
        return _in_sequence(placed, layout) if item.type == "sequential" else _in_parallel(placed)

    _in_sequence((place(step, f"/steps/{position}", 1) for position, step in enumerate(steps)), layout)
    return layout


def _plain_task(function: str) -> TaskSpec:
    """A task that is nothing but its function. Defaults that are made are given: pydantic would look at each factory's signature first."""
    return TaskSpec.model_construct(_fields_set={"task"}, task=function, args={}, depends_on=[], retry=NO_RETRY)


def _in_sequence(placed: Iterator[tuple[Indices, Indices]], layout: Layout) -> tuple[Indices, Indices]:
    first: Indices = ()
    last: Indices = ()
    for entries, exits in placed:
        if not entries:
            continue
        if last:
            layout.joins.append((last, entries))
        first = first or entries
        last = exits
    return first, last


def _in_parallel(placed: Iterator[tuple[Indices, Indices]]) -> tuple[Indices, Indices]:
    entries: list[int] = []
    exits: list[int] = []
    for inner_entries, inner_exits in placed:
        entries.extend(inner_entries)
        exits.extend(inner_exits)
    return tuple(entries), tuple(exits)


def name_tasks(layout: Layout, problems: Problems) -> list[str]:
    """An id for each task: its own, else its function's name, made unique by `_2`, `_3`, …; an id given twice is a problem.

    Ids that are given come first, wherever they stand, so that a generated one never clashes with them.
    """
    given = Counter(spec.id for spec in layout.specs if spec.id is not None)
    taken = set(given)
    seen: set[str] = set()
    counts: dict[str, int] = {}
    ids: list[str] = []
    for spec, pointer in zip(layout.specs, layout.pointers, strict=True):
        if spec.id is None:
            ids.append(_unused(spec.task, taken, counts))
            continue
        if spec.id in seen:
            message = f'the id "{spec.id}" is given {given[spec.id]} times'
            problems.add("duplicate-task", f"{pointer}/id", message, "give each task its own id")
        seen.add(spec.id)
        ids.append(spec.id)
    return ids


def _unused(function: str, taken: set[str], counts: dict[str, int]) -> str:
    """The function's name with the lowest free suffix; `counts` remembers where to go on, so that n repetitions cost O(n)."""
    number = counts.get(function, 1)
    name = function if number == 1 else _suffixed(function, number)
    while name in taken:
        number += 1
        name = _suffixed(function, number)
    counts[function] = number + 1
    taken.add(name)
    return name


def _suffixed(function: str, number: int) -> str:
    suffix = f"_{number}"
    return function[: ID_CHARS - len(suffix)] + suffix
