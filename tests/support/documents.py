"""Definitions for tests, and the JSON pointers into them."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from pydantic import JsonValue

from engine.compile import compile_document
from engine.errors import DefinitionError, Problem
from engine.graph import Graph
from engine.limits import DEFAULT_LIMITS, Limits

FUNCTIONS = frozenset({"task_a", "task_b", "task_c", "echo", "sleep"})


def steps(*items: JsonValue, kind: str = "sequential") -> JsonValue:
    """A definition of one step with these items."""
    return {"steps": [{"type": kind, "tasks": list(items)}]}


def dag(**depends_on: str) -> JsonValue:
    """A DAG of `task_a`s: each argument is a task id, its value the ids that it depends on, separated by spaces."""
    return {"tasks": {task_id: {"task": "task_a", "depends_on": list[JsonValue](names.split())} for task_id, names in depends_on.items()}}


def graph_of(document: JsonValue, limits: Limits = DEFAULT_LIMITS) -> Graph:
    return compile_document(document, functions=FUNCTIONS, limits=limits)[1]


def edges_of(graph: Graph) -> set[tuple[str, str]]:
    """(predecessor, successor) by id; both directions of the graph are compared on the way."""
    forward = {(graph.tasks[i].id, graph.tasks[j].id) for i, after in enumerate(graph.successors) for j in after}
    backward = {(graph.tasks[i].id, graph.tasks[j].id) for j, before in enumerate(graph.predecessors) for i in before}
    assert forward == backward
    return forward


def problems_of(
    document: JsonValue, *, functions: Collection[str] | None = FUNCTIONS, limits: Limits = DEFAULT_LIMITS
) -> tuple[Problem, ...]:
    """What is wrong with a document; every pointer leads to a place in it."""
    with pytest.raises(DefinitionError) as refused:
        compile_document(document, functions=functions, limits=limits)
    for problem in refused.value.problems:
        resolve(document, problem.pointer)
        assert problem.message, problem
        assert problem.remedy, problem
    return refused.value.problems


def places_of(document: JsonValue, limits: Limits = DEFAULT_LIMITS) -> set[tuple[str, str]]:
    """(code, pointer) of everything that is wrong with a document."""
    return {(problem.code, problem.pointer) for problem in problems_of(document, limits=limits)}


def resolve(document: JsonValue, pointer: str) -> JsonValue:
    """The value at an RFC 6901 pointer; KeyError, IndexError or ValueError where there is none."""
    value = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        match value:
            case dict():
                value = value[key]
            case list():
                value = value[int(key)]
            case _:
                raise KeyError(pointer)
    return value
