"""Bodies that nobody should be able to hurt a pod with: each must be refused fast, with a problem document, and leave nothing behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

MIB: Final = 1024 * 1024
JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Hostile:
    name: str
    body: Callable[[], bytes]
    status: int
    code: str
    """Of the first problem."""
    pointer: str | None = ""
    """Of the first problem; None where it does not matter."""
    headers: dict[str, str] = field(default_factory=JSON.copy)
    large: bool = True


def _raw(name: str, body: bytes, status: int, code: str, pointer: str | None = "", headers: dict[str, str] | None = None) -> Hostile:
    return Hostile(name, lambda: body, status, code, pointer, JSON if headers is None else headers, large=False)


def _json(name: str, value: object, code: str, pointer: str | None) -> Hostile:
    return Hostile(name, lambda: json.dumps(value).encode(), 422, code, pointer, large=False)


def _task(**fields: object) -> dict[str, object]:
    return {"tasks": {"a": {"task": "task_a", **fields}}}


def _too_many_tasks() -> bytes:
    return json.dumps({"steps": [{"type": "parallel", "tasks": ["task_a"] * 100_001}]}).encode()


def _million_edges() -> bytes:
    first = {f"a{number}": {"task": "task_a"} for number in range(1_000)}
    second = {f"b{number}": {"task": "task_a", "depends_on": list(first)} for number in range(1_001)}
    return json.dumps({"tasks": first | second}).encode()


def _million_edges_in_steps() -> bytes:
    step = {"type": "parallel", "tasks": ["task_a"] * 1_001}
    return json.dumps({"steps": [step, step]}).encode()


TYPE: Final = "header/Content-Type"
FORM: Final = "application/x-www-form-urlencoded"
GOOD: Final = b'{"steps":[{"type":"sequential","tasks":["task_a"]}]}'

HOSTILE: Final[list[Hostile]] = [
    _raw("empty", b"", 400, "body-empty", "body"),
    _raw("only blanks", b" \n ", 400, "invalid-json"),
    _raw("broken", b'{"steps": [', 400, "invalid-json"),
    _raw("trailing comma", b'{"steps": [],}', 400, "invalid-json"),
    _raw("two values", GOOD + GOOD, 400, "invalid-json"),
    _raw("comment", b"/* x */" + GOOD, 400, "invalid-json"),
    _raw("single quotes", b"{'steps': []}", 400, "invalid-json"),
    _raw("byte order mark", b"\xef\xbb\xbf" + GOOD, 400, "invalid-json"),
    _raw("not UTF-8", GOOD.replace(b"task_a", b"task_\xff"), 400, "invalid-json"),
    _raw("UTF-16", GOOD.decode().encode("utf-16"), 400, "invalid-json"),
    _raw("NaN", b'{"input":{"x":NaN},' + GOOD[1:], 400, "invalid-json", "/input/x"),
    _raw("Infinity", b'{"input":{"x":-Infinity},' + GOOD[1:], 400, "invalid-json", "/input/x"),
    _raw("float too large", b'{"input":{"x":1e999},' + GOOD[1:], 400, "invalid-value", "/input/x"),
    _raw("integer too long", b'{"input":{"x":' + b"9" * 5_000 + b"}," + GOOD[1:], 400, "invalid-json", "/input/x"),
    _raw("duplicate key", b'{"name":"a","name":"b",' + GOOD[1:], 400, "duplicate-key", "/name"),
    _raw("half a surrogate pair", b'{"name":"\\ud800",' + GOOD[1:], 400, "invalid-json", "/name"),
    _raw("raw control character", b'{"name":"a\x00b",' + GOOD[1:], 400, "invalid-json"),
    Hostile("a million arrays deep", lambda: b"[" * 10**6, 400, "limit-exceeded"),
    Hostile("a million objects deep", lambda: b'{"a":' * 10**6 + b"1" + b"}" * 10**6, 400, "limit-exceeded"),
    _raw("65 levels deep", b'{"input":{"x":' + b"[" * 63 + b"]" * 63 + b"}," + GOOD[1:], 400, "limit-exceeded", None),
    Hostile("16 MiB and a byte", lambda: GOOD + b" " * (16 * MIB + 1 - len(GOOD)), 413, "limit-exceeded", "body"),
    Hostile("16 MiB of empty objects", lambda: b"[" + b"{}," * (5 * MIB) + b"{}]", 400, "limit-exceeded"),
    Hostile("million edges", _million_edges, 422, "limit-exceeded", "/tasks"),
    Hostile("million edges in two steps", _million_edges_in_steps, 422, "limit-exceeded", "/steps"),
    Hostile("too many tasks", _too_many_tasks, 422, "limit-exceeded", "/steps"),
    _json("array", [], "invalid-value", ""),
    _json("string", "task_a", "invalid-value", ""),
    _json("null", None, "invalid-value", ""),
    _json("no workflow", {}, "invalid-value", ""),
    _json("no steps", {"steps": []}, "invalid-value", "/steps"),
    _json("steps of a wrong type", {"steps": "task_a"}, "invalid-value", "/steps"),
    _json("boolean for a number", _task(priority=True), "invalid-value", "/tasks/a/priority"),
    _json("text for a number", _task(timeout="3"), "invalid-value", "/tasks/a/timeout"),
    _json("unknown field", {"step": [], **json.loads(GOOD)}, "unknown-field", "/step"),
    _json("__proto__", {"__proto__": {"x": 1}, **json.loads(GOOD)}, "unknown-field", "/__proto__"),
    _json("field of a later version", _task(when="true"), "not-available", "/tasks/a/when"),
    _json("control character in an id", {"tasks": {"a\nb": {"task": "task_a"}}}, "invalid-value", "/tasks/a\nb"),
    _json("escape sequence in an id", {"steps": [{"type": "parallel", "tasks": [{"task": "a", "id": "\x1b[2J"}]}]}, "invalid-value", None),
    _json("Unicode in an id", {"tasks": {"ａ": {"task": "task_a"}}}, "invalid-value", "/tasks/ａ"),
    _json("id of two dots", {"tasks": {"..": {"task": "task_a"}}}, "invalid-value", "/tasks/.."),
    _json("id too long", {"tasks": {"a" * 129: {"task": "task_a"}}}, "invalid-value", None),
    _json("label with a line feed", {"labels": {"team": "a\r\nb"}, **json.loads(GOOD)}, "invalid-value", "/labels/team"),
    _json("cycle", {"tasks": {"a": {"task": "task_a", "depends_on": ["b"]}, "b": {"task": "task_a", "depends_on": ["a"]}}}, "cycle", None),
    _json("unknown dependency", _task(depends_on=["z"]), "unknown-dependency", "/tasks/a/depends_on/0"),
    _json("import path for a function", {"steps": [{"type": "parallel", "tasks": ["os.system"]}]}, "unknown-function", "/steps/0/tasks/0"),
    _json("args too large", _task(args={"x": "y" * 300_000}), "limit-exceeded", "/tasks/a/args"),
    _raw("gzip", gzip.compress(GOOD), 415, "media-type-unsupported", "header/Content-Encoding", {**JSON, "Content-Encoding": "gzip"}),
    _raw("a form", b"steps=task_a", 415, "media-type-unsupported", TYPE, {"Content-Type": FORM}),
    _raw("YAML", b"steps: []", 415, "media-type-unsupported", TYPE, {"Content-Type": "application/yaml"}),
    _raw("text, as any web page may send", GOOD, 415, "media-type-unsupported", TYPE, {"Content-Type": "text/plain"}),
    _raw("no type, as any web page may send", GOOD, 415, "media-type-unsupported", TYPE, {}),
    _raw("Latin-1", GOOD, 415, "media-type-unsupported", TYPE, {"Content-Type": "application/json; charset=latin-1"}),
    _raw("empty idempotency key", GOOD, 400, "header-invalid", "header/Idempotency-Key", {**JSON, "Idempotency-Key": ""}),
    _raw("long idempotency key", GOOD, 400, "header-invalid", "header/Idempotency-Key", {**JSON, "Idempotency-Key": "k" * 256}),
]  # fmt: skip

CASES: Final = [pytest.param(hostile, id=hostile.name) for hostile in HOSTILE]
SMALL_CASES: Final = [pytest.param(hostile, id=hostile.name) for hostile in HOSTILE if not hostile.large]
