"""A definition laid out as tasks by index, before anybody knows whether it makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.definition import TaskSpec, WorkflowDefinition
from engine.limits import Limits
from engine.problems import Nearest, Problems, escape
from engine.size import check_count
from engine.steps import lay_out, name_tasks

Indices = tuple[int, ...]

UNREADABLE = ""
"""Stands for a name that is wrong, and known to be, in a definition that is read only to find what else is wrong."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Tasks by index, in the definition's order; every list is as long as `ids`."""

    ids: list[str]
    specs: list[TaskSpec]
    pointers: list[str]
    """Of each task in the posted document."""
    function_pointers: list[str]
    """Of each task's function name; the task's own where it is nothing else."""
    successors: Sequence[Sequence[int]]
    predecessors: Sequence[Indices]


def draft_of(definition: WorkflowDefinition, limits: Limits, problems: Problems) -> Draft:
    """Lays both forms out alike; notes ids given twice, unknown dependencies, fields of the other form, and broken limits."""
    if definition.tasks is not None:
        return _dag(definition.tasks, limits, problems)
    return _steps(definition, limits, problems)


def _steps(definition: WorkflowDefinition, limits: Limits, problems: Problems) -> Draft:
    layout = lay_out(definition.steps or [], limits, problems)
    size = len(layout.specs)
    check_count("tasks", size, limits.tasks, "/steps", problems)
    edges = sum(len(before) * len(after) for before, after in layout.joins)
    check_count("edges", edges, limits.edges, "/steps", problems)
    for spec, pointer in zip(layout.specs, layout.pointers, strict=True):
        if spec.depends_on:
            problems.add(
                "unknown-field", f"{pointer}/depends_on", '"depends_on" belongs to a DAG', "leave it out: steps say what comes after what"
            )
    predecessors: list[Indices] = [()] * size
    successors: list[Indices] = [()] * size
    for before, after in layout.joins:
        # The tuples are shared, so that a product of edges costs only its sides.
        for index in before:
            successors[index] = after
        for index in after:
            predecessors[index] = before
    function_pointers = [p if plain else f"{p}/task" for p, plain in zip(layout.pointers, layout.plain, strict=True)]
    return Draft(name_tasks(layout, problems), layout.specs, layout.pointers, function_pointers, successors, predecessors)


def _dag(tasks: dict[str, TaskSpec], limits: Limits, problems: Problems) -> Draft:
    check_count("tasks", len(tasks), limits.tasks, "/tasks", problems)
    check_count("edges", sum(len(spec.depends_on) for spec in tasks.values()), limits.edges, "/tasks", problems)
    index_of = {task_id: index for index, task_id in enumerate(tasks)}
    nearest = Nearest(index_of)
    pointers = [f"/tasks/{escape(task_id)}" for task_id in tasks]
    successors: list[list[int]] = [[] for _ in tasks]
    predecessors: list[Indices] = []
    for index, spec in enumerate(tasks.values()):
        before = [index_of.get(task_id, -1) for task_id in spec.depends_on]
        if -1 in before or len(set(before)) != len(before):
            before = _usable(spec, before, f"{pointers[index]}/depends_on", nearest, problems)
        if spec.id is not None:
            problems.add("unknown-field", f"{pointers[index]}/id", '"id" belongs to steps', "leave it out: in a DAG the key is the id")
        for predecessor in before:
            successors[predecessor].append(index)
        predecessors.append(tuple(before))
    return Draft(list(tasks), list(tasks.values()), pointers, [f"{pointer}/task" for pointer in pointers], successors, predecessors)


def _usable(spec: TaskSpec, before: list[int], pointer: str, nearest: Nearest, problems: Problems) -> list[int]:
    """The known predecessors, each once; notes the others. Unknown ones are -1."""
    usable: dict[int, None] = {}
    for position, (task_id, index) in enumerate(zip(spec.depends_on, before, strict=True)):
        place = f"{pointer}/{position}"
        if task_id == UNREADABLE:
            continue
        if index < 0:
            remedy = nearest.remedy(task_id, "name a task of this definition")
            problems.add("unknown-dependency", place, f'no task has the id "{task_id}"', remedy)
        elif index in usable:
            problems.add("duplicate-dependency", place, f'"{task_id}" is named twice', "name it once")
        else:
            usable[index] = None
    return list(usable)
