"""Turns what pydantic refuses into problems that a user can act on: a pointer into the posted document, the value found, what to write.

pydantic's locations name branches of unions and keys of objects beside the path through the document; both are taken out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from typing import Any

from pydantic_core import ErrorDetails

from engine.errors import Problem
from engine.limits import ID_PATTERN
from engine.problems import Nearest, pointer_of, shown

Kind = str
"""What holds a field: `run`, `step`, `task`, `retry`, `wait`, `function` (an item that is only a name)."""

LATER: Mapping[Kind, Collection[str]] = {
    "run": {"fairness_key", "timeout", "start_at", "durability"},
    "task": {"when", "trigger_rule", "for_each", "max_parallel", "concurrency"},
}
"""Fields whose names are kept for later versions, so that no definition changes its meaning then."""

_WANTED = {
    "string_type": ("a string", "write it in quotes"),
    "int_type": ("an integer", "write a whole number without quotes"),
    "float_type": ("a number", "write a number without quotes"),
    "bool_type": ("true or false", "write true or false without quotes"),
    "list_type": ("an array", "write [ … ]"),
    "dict_type": ("an object", "write { … }"),
}
_WANTED_MODELS = {
    "WorkflowDefinition": ("an object", 'write {"steps": [ … ]} or {"tasks": { … }}'),
    "Step": ("a step", 'write {"type": "sequential", "tasks": [ … ]}, or "parallel"'),
    "TaskSpec": ("a task", 'write {"task": "the function\'s name"}'),
    "RetryPolicy": ("an object", 'write {"max_attempts": 3}'),
    "WaitPolicy": ("an object", 'write {"initial": 1, "multiplier": 2, "max": 60}'),
}
_MISSING = {
    "task": 'add "task": the name of the function to call',
    "type": 'add "type": "sequential" or "parallel"',
    "tasks": 'add "tasks": an array of functions\' names, tasks and steps',
}
_BOUNDS = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
WRONG_FORM = (
    "invalid-value",
    "",
    "exactly one of steps and tasks must be given",
    "give steps, which run one after the other, or tasks, a DAG by task id",
)
_NAME_REMEDY = "use 1 to 128 of the characters A-Z a-z 0-9 _ . -"


def problems_from(errors: Iterable[ErrorDetails], fields: Mapping[Kind, Collection[str]]) -> Iterator[Problem]:
    """One problem for each error of pydantic; `fields` names the fields that each kind of object has."""
    nearest = {kind: Nearest(names) for kind, names in fields.items()}
    for error in errors:
        path, holder = _path_and_holder(error)
        if error["type"] == "missing":
            name = str(path.pop())
            yield Problem("missing-field", pointer_of(path), f'the field "{name}" is missing', _MISSING[name])
        elif error["type"] == "extra_forbidden":
            yield _unknown_field(pointer_of(path), str(path[-1]), holder, nearest[holder])
        else:
            code, message, remedy = _wrong_value(error)
            yield Problem(code, pointer_of(path), message, remedy)


def _path_and_holder(error: ErrorDetails) -> tuple[list[str | int], Kind]:
    """The error's path through the document, and the kind of object that holds the path's last part."""
    loc = list(error["loc"])
    if loc and loc[-1] == "[key]" and error["type"] != "extra_forbidden":
        loc.pop()
    path: list[str | int] = []
    kind = holder = "run"
    parts = iter(loc)
    for part in parts:
        path.append(part)
        holder = kind
        if kind == "run" and part in {"steps", "tasks"}:
            path.extend(_next(parts))
            kind = "step" if part == "steps" else "task"
        elif kind == "step" and part == "tasks":
            path.extend(_next(parts))
            # The branch of the union is named next: no part of the document.
            kind = str(next(parts, kind))
        elif part in {"retry", "wait"} and kind in {"task", "retry"}:
            kind = str(part)
    return path, holder


def _next(parts: Iterator[str | int]) -> list[str | int]:
    part = next(parts, None)
    return [] if part is None else [part]


def _unknown_field(pointer: str, name: str, holder: Kind, nearest: Nearest) -> Problem:
    if name in LATER.get(holder, ()):
        return Problem("not-available", pointer, f'"{name}" is not available yet', "leave it out; a later version will have it")
    article = "the definition" if holder == "run" else f"a {holder}"
    return Problem("unknown-field", pointer, f"{shown(name)} is not a field of {article}", nearest.remedy(name, "leave it out"))


def _wrong_value(error: ErrorDetails) -> tuple[str, str, str]:
    """Code, message and remedy for a value that is there and is wrong."""
    kind, value, facts = error["type"], shown(error["input"]), error.get("ctx", {})
    if kind in _WANTED or kind == "model_type":
        wanted, remedy = _WANTED_MODELS[facts["class_name"]] if kind == "model_type" else _WANTED[kind]
        return "invalid-value", f"must be {wanted}, is {value}", remedy
    if kind in _BOUNDS:
        fact, words = _BOUNDS[kind]
        return "invalid-value", f"must be {words} {facts[fact]:g}, is {value}", f"use a number that is {words} {facts[fact]:g}"
    match kind:
        case "literal_error":
            wanted = str(facts["expected"]).replace("'", '"')
            return "invalid-value", f"must be {wanted}, is {value}", f"write {wanted}"
        case "string_pattern_mismatch":
            return _wrong_text(value, str(facts["pattern"]))
        case "too_short" | "string_too_short":
            return "invalid-value", "must not be empty", "leave it out, or fill it"
        case "too_long" | "string_too_long":
            return _too_long(error["input"], facts)
        case "recursion_loop" | "recursion_depth_exceeded":
            return "limit-exceeded", "steps are nested too deep", "nest less"
        case "item_kind":
            return "invalid-value", f"must be a function's name, a task or a step, is {value}", 'write "task_a" or {"task": "task_a"}'
        case "wait_order":
            return "invalid-value", error["msg"], "raise max, or lower initial"
        case "one_form":
            code, _, message, remedy = WRONG_FORM
            return code, message, remedy
        case _:
            return "invalid-value", f"{error['msg']}, is {value}", "see the definition language in the documentation"


def _wrong_text(value: str, pattern: str) -> tuple[str, str, str]:
    if pattern == ID_PATTERN:
        return "invalid-value", f"{value} cannot be a name here", _NAME_REMEDY
    if pattern.startswith(r"^[^\x00"):
        return "invalid-value", f"{value} holds a control character", "take out line breaks, tabs and other control characters"
    return "invalid-value", f"{value} cannot be the name of an exception class", 'write a name such as "ConnectionError"'


def _too_long(value: Sized, facts: Mapping[str, Any]) -> tuple[str, str, str]:
    limit = facts["max_length"]
    things = "characters" if isinstance(value, str) else "items"
    return "limit-exceeded", f"{len(value)} {things} are more than the limit of {limit}", f"use at most {limit}"
