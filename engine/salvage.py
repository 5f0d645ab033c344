"""Reads what can be read of a definition with wrong fields, so that its dependencies are checked in the same answer.

What is wrong is replaced by something harmless that causes no problem of its own; the result is for checking, never for running.
"""

from __future__ import annotations

from pydantic import JsonValue

from engine.definition import Step, TaskItem, TaskSpec, WorkflowDefinition
from engine.draft import UNREADABLE
from engine.ids import is_id
from engine.limits import Limits
from engine.problems import Problems
from engine.size import check_size


def salvage(value: JsonValue, limits: Limits) -> WorkflowDefinition | None:
    """An unchecked definition of the readable parts, each at its old place; None where there is none, or more than the limits allow."""
    too_large = Problems()
    check_size(value, limits, too_large)
    if not isinstance(value, dict) or too_large:
        return None
    tasks, steps = value.get("tasks"), value.get("steps")
    if isinstance(tasks, dict):
        return WorkflowDefinition.model_construct(tasks={task_id: _task(task) for task_id, task in tasks.items()})
    if isinstance(steps, list):
        items = [_item(step, 1, limits.nesting) for step in steps]
        return WorkflowDefinition.model_construct(steps=[item if isinstance(item, Step) else _step([]) for item in items])
    return None


def _item(value: JsonValue, level: int, nesting: int) -> TaskItem:
    if isinstance(value, str):
        return _name(value)
    if not isinstance(value, dict):
        return UNREADABLE
    inner = value.get("tasks")
    if not isinstance(inner, list) or isinstance(value.get("task"), str):
        return _task(value)
    if level > nesting:
        # The layout refuses this step without looking inside.
        return _step([])
    return _step([_item(item, level + 1, nesting) for item in inner])


def _step(items: list[TaskItem]) -> Step:
    """A step of either type: only dependencies differ, and those of steps are never wrong."""
    return Step.model_construct(type="parallel", tasks=items)


def _task(value: JsonValue) -> TaskSpec:
    fields = value if isinstance(value, dict) else {}
    task_id, args, depends_on = fields.get("id"), fields.get("args"), fields.get("depends_on")
    return TaskSpec.model_construct(
        task=_name(fields.get("task")),
        id=_name(task_id) or None,
        args=args if isinstance(args, dict) else {},
        depends_on=[_name(name) for name in depends_on] if isinstance(depends_on, list) else [],
    )


def _name(value: JsonValue) -> str:
    return value if isinstance(value, str) and is_id(value) else UNREADABLE
