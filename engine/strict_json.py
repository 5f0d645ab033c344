"""Reads and writes JSON strictly: what this module accepts means the same to every other reader.

Python's own reader takes `NaN`, lets the last of two equal keys win, keeps lone surrogates and turns `1e999` into infinity.
All of these are refused here, each with a pointer to the place (RFC 8259 §4, §6, §8.2).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

from pydantic import JsonValue

from engine.limits import DEFAULT_LIMITS
from engine.problems import Problems, pointer_of
from engine.walk import Pairs, Path, children, visit

MAX_INT_DIGITS = 4300
"""CPython converts longer ones only with `sys.set_int_max_str_digits`, because the time grows with the square."""

DEPTH = DEFAULT_LIMITS.depth
"""Every reader on the way can take this; pydantic stops near 200."""

CONTAINERS = DEFAULT_LIMITS.containers

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING_OR_OPENING = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]', re.DOTALL)
_QUOTE = ord('"')
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEVER_WRONG = frozenset({int, bool, type(None)})
_HALF_A_PAIR = ("half of a surrogate pair is no character", "escape the whole pair, or leave it out")


class _Unusable:
    """Stands in the decoded value where a number cannot be one, until the walk has found its pointer."""

    def __init__(self, message: str, remedy: str) -> None:
        self.message = message
        self.remedy = remedy


_CONSTANTS = {name: _Unusable(f"{name} is not JSON", "use a number, a string or null") for name in ("NaN", "Infinity", "-Infinity")}


def parse(data: bytes, *, depth: int = DEPTH, containers: int = CONTAINERS) -> JsonValue:
    """The value of a JSON text in UTF-8.

    Raises DefinitionError with every duplicate key, unusable number, lone surrogate and too deep place; a syntax error is the only
    problem, since nothing behind it can be trusted. Takes O(bytes), however deep the text is nested; a text with more arrays and objects
    than `containers` is not decoded.
    """
    problems = Problems()
    _count_containers(data, containers, problems)
    problems.raise_if_any()
    value = _decode(data, depth, problems)
    problems.raise_if_any()
    _check(value, depth, problems, surrogates=_ESCAPED_SURROGATE.search(data) is not None)
    problems.raise_if_any()
    return cast(JsonValue, value)


def dumps(value: object, *, depth: int = DEPTH) -> str:
    """Compact JSON text of a Python value.

    Raises TypeError for what is not JSON, ValueError for NaN, infinities, lone surrogates, values that contain themselves, and values
    nested deeper than `depth`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError(f"nested deeper than {depth} levels") from None
    if not text.isascii():
        text.encode()
    if text.count("[") + text.count("{") > depth and _deeper_than(value, depth):
        raise ValueError(f"nested deeper than {depth} levels")
    return text


def _count_containers(data: bytes, limit: int, problems: Problems) -> None:
    if data.count(b"[") + data.count(b"{") <= limit:
        return
    # Brackets in texts do not count: look closer, and only as far as needed.
    openings = (match for match in _STRING_OR_OPENING.finditer(data) if data[match.start()] != _QUOTE)
    if next(islice(openings, limit, None), None) is not None:
        problems.add("limit-exceeded", "", f"more arrays and objects than the limit of {limit}", "send less in one document")


def _decode(data: bytes, depth: int, problems: Problems) -> object:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.add("invalid-json", "", f"the byte at offset {error.start} is not UTF-8", "send JSON in UTF-8")
        return None
    try:
        return _load(text, None)
    except json.JSONDecodeError as error:
        problems.add("invalid-json", "", f"line {error.lineno}, column {error.colno}: {error.msg}", "send one JSON value (RFC 8259)")
    except RecursionError:
        problems.add("limit-exceeded", "", f"nested deeper than the limit of {depth} levels", "nest less")
    except ValueError:
        # An integer too long to convert. A hook for integers makes reading slower, so it is used only now.
        return _load(text, _integer)
    return None


def _load(text: str, parse_int: Callable[[str], object] | None) -> object:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_CONSTANTS.__getitem__, parse_int=parse_int)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Pairs:
    value = dict(pairs)
    return value if len(value) == len(pairs) else Pairs(pairs)


def _integer(digits: str) -> int | _Unusable:
    if len(digits.lstrip("-")) > MAX_INT_DIGITS:
        return _Unusable(f"a number of {len(digits)} digits is longer than the limit of {MAX_INT_DIGITS}", "send it as a string")
    return int(digits)


def _check(value: object, depth: int, problems: Problems, *, surrogates: bool) -> None:
    """Notes what is wrong with a decoded value; `surrogates` says whether its text escapes any."""
    harmless = _NEVER_WRONG if surrogates else _NEVER_WRONG | {str}
    for path, item in visit(value):
        if type(item) in harmless:
            continue
        match item:
            case str():
                if _SURROGATE.search(item):
                    problems.add("invalid-json", pointer_of(path), *_HALF_A_PAIR)
            case float():
                if math.isinf(item):
                    message = "the number is larger than a 64-bit float can hold"
                    problems.add("invalid-value", pointer_of(path), message, "send it as a string")
            case _Unusable():
                problems.add("invalid-json", pointer_of(path), item.message, item.remedy)
            case _:
                _check_container(item, path, depth, problems, surrogates=surrogates)
        if problems.full:
            return


def _check_container(item: object, path: Path, depth: int, problems: Problems, *, surrogates: bool) -> None:
    if len(path) == depth:
        problems.add("limit-exceeded", pointer_of(path), f"nested deeper than the limit of {depth} levels", "nest less")
    if isinstance(item, Pairs):
        for key, times in Counter(key for key, _ in item.pairs).items():
            if times > 1:
                message = f"the key is named {times} times in its object"
                problems.add("duplicate-key", pointer_of([*path, key]), message, "keep one of them, or rename it")
    if surrogates and any(isinstance(key, str) and _SURROGATE.search(key) for key, _ in children(item)):
        problems.add("invalid-json", pointer_of(path), f"in a key, {_HALF_A_PAIR[0]}", _HALF_A_PAIR[1])


def _deeper_than(value: object, depth: int) -> bool:
    level: list[object] = [value]
    for _ in range(depth):
        level = [item for container in level for item in _items(container)]
    return any(isinstance(item, (dict, list, tuple)) for item in level)


def _items(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast(dict[object, object], value).values())
    if isinstance(value, (list, tuple)):
        return list(cast(list[object] | tuple[object], value))
    return []
