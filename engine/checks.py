"""What must hold for a laid out definition to be run: known functions, usable ids and arguments, no cycles."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import JsonValue
from pydantic_core import to_json

from engine import strict_json
from engine.cycles import find_cycles
from engine.draft import UNREADABLE, Draft
from engine.limits import Limits
from engine.problems import Nearest, Problems, pointer_of
from engine.walk import visit

SHOWN_OF_CYCLE = 20
"""Tasks of a cycle that a message names; a longer one is shortened in its middle."""


def check_functions(draft: Draft, functions: Collection[str], problems: Problems) -> None:
    """Notes tasks whose function nobody has registered."""
    nearest = Nearest(functions)
    for spec, pointer in zip(draft.specs, draft.function_pointers, strict=True):
        if spec.task not in functions and spec.task != UNREADABLE:
            remedy = nearest.remedy(spec.task, "register it in a module that the pods load")
            problems.add("unknown-function", pointer, f'no function is registered as "{spec.task}"', remedy)


def check_ids(draft: Draft, problems: Problems) -> None:
    """Notes ids that fit the pattern and still cannot be part of a URL."""
    for task_id, pointer in zip(draft.ids, draft.pointers, strict=True):
        if task_id in {".", ".."}:
            problems.add("invalid-value", pointer, f'the id "{task_id}" would be lost in a URL', "use a letter or a digit")


def check_args(draft: Draft, limits: Limits, problems: Problems) -> None:
    """Notes arguments that are too large, and texts that a later version will take for expressions."""
    for spec, pointer in zip(draft.specs, draft.pointers, strict=True):
        if not spec.args:
            continue
        try:
            data = _encoded(spec.args, limits.depth)
        except ValueError as error:
            problems.add("invalid-value", f"{pointer}/args", f"the arguments are not JSON: {error}", "use values that JSON can hold")
            continue
        if len(data) > limits.args_bytes:
            message = f"{len(data)} bytes of arguments are more than the limit of {limits.args_bytes}"
            problems.add("limit-exceeded", f"{pointer}/args", message, "store large data elsewhere and pass its address")
        if b"${" in data:
            _refuse_expressions(spec.args, f"{pointer}/args", problems)


def _refuse_expressions(args: JsonValue, pointer: str, problems: Problems) -> None:
    for path, value in visit(args):
        if isinstance(value, str) and "${" in value:
            message = 'a text with "${" will be an expression in a later version; expressions are not available yet'
            remedy = "take the text without ${ … }, and compute the value in the task function"
            problems.add("not-available", pointer + pointer_of(path), message, remedy)
            if problems.full:
                return


def _encoded(args: dict[str, JsonValue], depth: int) -> bytes:
    """Compact JSON in UTF-8; ValueError for what is none.

    pydantic's writer takes a fifth of the time of Python's, and is not strict: what might need to be refused is written again.
    """
    data = to_json(args, inf_nan_mode="constants")
    if b"NaN" in data or b"Infinity" in data or data.count(b"[") + data.count(b"{") > depth:
        strict_json.dumps(args, depth=depth)
    return data


def check_cycles(draft: Draft, problems: Problems) -> None:
    """Notes a path for each knot of tasks that wait for each other."""
    for cycle in find_cycles(draft.successors, [len(before) for before in draft.predecessors]):
        first, last = cycle[0], cycle[-1]
        position = draft.predecessors[first].index(last)
        names = [draft.ids[index] for index in [*cycle, first]]
        if len(names) > SHOWN_OF_CYCLE:
            half = SHOWN_OF_CYCLE // 2
            names[half:-half] = [f"… {len(names) - 2 * half} more …"]
        problems.add(
            "cycle",
            f"{draft.pointers[first]}/depends_on/{position}",
            f"cycle: {' → '.join(names)}",
            "take out one of these dependencies",
        )
