"""What a task function's return value becomes: a result as compact JSON, a sleep, or a failure that says why not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import cast

from engine.definition import MAX_SECONDS
from engine.limits import Limits
from engine.outcome import Outcome, Sleeping, Succeeded
from engine.strict_json import dumps
from scheduler.failures import InvalidResult, ResultTooLarge, ReturnedFalse, failed

DEPTH = Limits().depth
"""Arrays and objects inside each other: what a definition may have, a result may have."""
REMEDY = "return only dicts with text keys, lists, text, finite numbers, booleans and None"
SMALL_INT = 2**53

CONTAINERS = (dict, list, tuple)
Container = dict[object, object] | list[object] | tuple[object, ...]

_TRUE = Succeeded("true")
_NULL = Succeeded("null")
_FALSE = failed(ReturnedFalse())


def outcome_of(value: object, result_bytes: int) -> Outcome:
    """The outcome of an attempt whose function returned `value`. Never raises.

    The work is bounded by `result_bytes` and not by the value: a value that cannot fit is refused before it is encoded.
    """
    if value is True:
        return _TRUE
    if value is None:
        return _NULL
    if value is False:
        return _FALSE
    if type(value) is int and -SMALL_INT < value < SMALL_INT:
        return Succeeded(str(value))
    try:
        return _sleeping(value, result_bytes) if isinstance(value, Sleeping) else Succeeded(result_json(value, result_bytes))
    except InvalidResult as problem:
        return failed(problem, retryable=False)


def result_json(value: object, result_bytes: int) -> str:
    """The value as compact JSON; raises InvalidResult, or ResultTooLarge, and nothing else."""
    try:
        return _checked_json(value, result_bytes)
    except InvalidResult:
        raise
    except Exception as error:  # the value may be of the user's own class, whose methods may raise anything
        raise InvalidResult(f"the result is not JSON: {error}; {REMEDY}") from error


def _sleeping(value: Sleeping, result_bytes: int) -> Sleeping:
    if not (math.isfinite(value.seconds) and 0 <= value.seconds <= MAX_SECONDS):
        raise InvalidResult(f"a sleep of {value.seconds} seconds is out of range; use 0 to {MAX_SECONDS}")
    try:
        inner = json.loads(value.result_json)
    except ValueError as error:
        raise InvalidResult(f"the result is not JSON: {error}; {REMEDY}") from error
    return Sleeping(float(value.seconds), result_json(inner, result_bytes))


def _checked_json(value: object, result_bytes: int) -> str:
    if isinstance(value, str) and len(value) > result_bytes:
        raise ResultTooLarge(f"at least {len(value)}", result_bytes)
    if isinstance(value, CONTAINERS):
        _check_structure(cast("Container", value), result_bytes)
    text = dumps(cast("object", value), depth=DEPTH)
    size = len(text) if text.isascii() else len(text.encode())
    if size > result_bytes:
        raise ResultTooLarge(str(size), result_bytes)
    return text


def _check_structure(value: Container, result_bytes: int) -> None:
    """Refuses what the encoder would take but JSON has not: keys that are not text, endless nesting; and what is certainly too large."""
    budget = result_bytes
    level = [value]
    for _ in range(DEPTH):
        inner: list[Container] = []
        for container in level:
            values: Iterable[object] = container
            if isinstance(container, dict):
                budget -= _bytes_of_keys(container)
                values = container.values()
            for item in values:
                # At least a digit and a comma; text also has its quotes.
                budget -= len(item) + 3 if isinstance(item, str) else 2
                if budget < -2:
                    raise ResultTooLarge(f"more than {result_bytes}", result_bytes)
                if isinstance(item, CONTAINERS):
                    inner.append(cast("Container", item))
        if not inner:
            return
        level = inner
    raise InvalidResult(f"the result is nested deeper than {DEPTH} levels, or contains itself; {REMEDY}")


def _bytes_of_keys(value: dict[object, object]) -> int:
    """How many bytes keys, quotes and colons have at least."""
    size = 0
    for key in value:
        if not isinstance(key, str):
            raise InvalidResult(f"the result has the key {str(key)[:80]!r} of type {type(key).__name__}; {REMEDY}")
        size += len(key) + 3
    return size
