"""Counts what a posted document asks for before anything expensive looks at it.

pydantic describes every mistake, at half a kilobyte each, and cannot be told to stop: what could hold a million of them is looked at here.
"""

from __future__ import annotations

from pydantic import JsonValue

from engine.ids import is_id
from engine.limits import Limits
from engine.problems import MAX_PROBLEMS, Problems, escape

MAX_FIELDS = 1_000
"""Of one object that is neither data of the user nor the DAG itself; far more than there are fields."""

LONG = 5_000
"""Entries of `depends_on` from which they are looked at before pydantic does."""


def check_size(value: JsonValue, limits: Limits, problems: Problems) -> None:
    """Notes too many tasks, dependencies of a DAG, fields and wrong ids. Takes any JSON value; what is no workflow is not followed."""
    if not isinstance(value, dict):
        return
    _check_fields(value, "", problems)
    _check_fields(value.get("labels"), "/labels", problems)
    dag, steps = value.get("tasks"), value.get("steps")
    if isinstance(dag, dict):
        check_count("tasks", len(dag), limits.tasks, "/tasks", problems)
        edges = 0
        for task_id, task in dag.items():
            if isinstance(task, dict):
                edges += _check_task(task, task_id, problems)
        check_count("edges", edges, limits.edges, "/tasks", problems)
    if isinstance(steps, list):
        check_count("tasks", _tasks_in(steps, problems), limits.tasks, "/steps", problems)


def check_count(what: str, actual: int, limit: int, pointer: str, problems: Problems) -> None:
    """Notes a number above its limit, with both."""
    if actual > limit:
        problems.add("limit-exceeded", pointer, f"{actual} {what} are more than the limit of {limit}", "split the workflow into several")


def _check_task(task: dict[str, JsonValue], task_id: str, problems: Problems) -> int:
    """The number of the task's dependencies."""
    depends_on = _list(task.get("depends_on"))
    if len(task) > MAX_FIELDS or "retry" in task:
        _check_object(task, f"/tasks/{escape(task_id)}", problems)
    if len(depends_on) > LONG:
        wrong = sum(not (isinstance(name, str) and is_id(name)) for name in depends_on)
        if wrong > MAX_PROBLEMS:
            message, remedy = f"{wrong} of {len(depends_on)} entries cannot be ids", "name tasks of this definition"
            problems.add("invalid-value", f"/tasks/{escape(task_id)}/depends_on", message, remedy)
    return len(depends_on)


def _check_object(item: dict[str, JsonValue], pointer: str, problems: Problems) -> None:
    """Notes too many fields of a task or step, and of what it holds."""
    _check_fields(item, pointer, problems)
    retry = item.get("retry")
    if isinstance(retry, dict):
        _check_fields(retry, f"{pointer}/retry", problems)
        _check_fields(retry.get("on"), f"{pointer}/retry/on", problems)
        _check_fields(retry.get("wait"), f"{pointer}/retry/wait", problems)


def _check_fields(value: JsonValue, pointer: str, problems: Problems) -> None:
    if isinstance(value, (dict, list)) and len(value) > MAX_FIELDS:
        what = "fields" if isinstance(value, dict) else "entries"
        message = f"{len(value)} {what} are more than the limit of {MAX_FIELDS}"
        problems.add("limit-exceeded", pointer, message, "see the definition language in the documentation")


def _tasks_in(steps: list[JsonValue], problems: Problems) -> int:
    """Items of all steps that are no steps themselves; an empty step counts as one."""
    count = 0
    open_lists = [steps]
    while open_lists:
        for item in open_lists.pop():
            count += 1
            if isinstance(item, dict):
                _check_object(item, "/steps", problems)
                inner = _list(item.get("tasks"))
                if inner:
                    count -= 1
                    open_lists.append(inner)
    return count


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
