"""YAML as a way to write JSON: the same values, the same strictness, and the line of each.

Only what JSON can say is read: strings, numbers, booleans, null, lists, mappings with string keys. Words mean what YAML 1.2 says
(`on`, `no` and `2026-01-01` are strings). Tags are refused, so nothing in a file names Python code; so are duplicate keys. Anchors
work within limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue

from engine.errors import DefinitionError, Problem
from engine.limits import Limits

# An alias costs nothing in the file and its whole value in the request; no definition repeats itself more often than this.
ALIASED_VALUES = 125_000
NULL = re.compile(r"~|null|Null|NULL|")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    value: JsonValue
    lines: dict[str, int]
    """RFC 6901 pointer → line, counted from 1."""


class YamlRefused(DefinitionError):
    """The text is no YAML, or says what JSON cannot; `line` is where."""

    def __init__(self, line: int, message: str, remedy: str, pointer: str = "", code: str = "invalid-yaml") -> None:
        self.line = line
        super().__init__((Problem(code=code, pointer=pointer, message=message, remedy=remedy),))


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    pointer: str
    values: list[JsonValue] | dict[str, JsonValue]
    anchor: str | None
    first_value: int
    key: str | None = None


@dataclass(slots=True)
class _Reader:
    depth: int
    open: list[_Open] = field(default_factory=list["_Open"])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    anchors: dict[str, tuple[JsonValue, int]] = field(default_factory=dict[str, "tuple[JsonValue, int]"])
    values: int = 0
    aliased: int = 0
    root: list[JsonValue] = field(default_factory=list["JsonValue"])

    def read(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.SequenceStartEvent():
                self._start(event, [], line)
            case yaml.MappingStartEvent():
                self._start(event, {}, line)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._end()
            case yaml.DocumentStartEvent() if self.root:
                raise YamlRefused(line, "a second document begins here", "keep one definition in a file")
            case _:
                pass

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.values, dict) and top.key is None:
            self._key(top, top.values, event, line)
            return
        self._refuse_tag(event.tag, line)
        value = scalar(event.value, line) if event.implicit[0] else event.value
        self.values += 1
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._add(value, line)

    def _key(self, top: _Open, values: dict[str, JsonValue], event: yaml.ScalarEvent, line: int) -> None:
        self._refuse_tag(event.tag, line)
        key, pointer = event.value, f"{top.pointer}/{escape(event.value)}"
        if key in values:
            message = f"the key {key!r} stands here for the second time, first in line {self.lines[pointer]}"
            raise YamlRefused(line, message, "keep one of the two", pointer, "duplicate-key")
        if key == "<<" and event.implicit[0]:
            raise YamlRefused(line, "merge keys (<<) are not read", "use the anchor for a whole value, or repeat the fields", pointer)
        top.key = key
        self.lines[pointer] = line

    def _start(self, event: yaml.CollectionStartEvent, values: list[JsonValue] | dict[str, JsonValue], line: int) -> None:
        self._refuse_tag(event.tag, line)
        if self.open and isinstance(self.open[-1].values, dict) and self.open[-1].key is None:
            raise YamlRefused(line, "a list or mapping is used as a key", "keys are strings", self.open[-1].pointer)
        if len(self.open) >= self.depth:
            raise YamlRefused(line, f"more than {self.depth} levels of nesting", "nest less deeply", code="limit-exceeded")
        pointer = self._pointer()
        self.lines.setdefault(pointer, line)
        self.open.append(_Open(pointer, values, event.anchor, self.values))
        self.values += 1

    def _end(self) -> None:
        closed = self.open.pop()
        if closed.anchor is not None:
            self.anchors[closed.anchor] = (closed.values, self.values - closed.first_value)
        self._add(closed.values, None)

    def _alias(self, anchor: str, line: int) -> None:
        if self.open and isinstance(self.open[-1].values, dict) and self.open[-1].key is None:
            raise YamlRefused(line, f"the alias *{anchor} is used as a key", "write the key out", self.open[-1].pointer)
        if anchor not in self.anchors:
            message = f"*{anchor} refers to no anchor before it (an anchor cannot hold itself)"
            raise YamlRefused(line, message, f"define &{anchor} first", self._pointer())
        value, size = self.anchors[anchor]
        self.aliased += size
        self.values += size
        if self.aliased > ALIASED_VALUES:
            message = f"the aliases of this file stand for more than {ALIASED_VALUES:,} values"
            raise YamlRefused(line, message, "write fewer aliases of aliases", self._pointer(), "limit-exceeded")
        self._add(value, line)

    def _pointer(self) -> str:
        if not self.open:
            return ""
        top = self.open[-1]
        return f"{top.pointer}/{escape(top.key or '') if isinstance(top.values, dict) else len(top.values)}"

    def _add(self, value: JsonValue, line: int | None) -> None:
        if not self.open:
            self.root.append(value)
            return
        if line is not None:
            self.lines.setdefault(self._pointer(), line)
        top = self.open[-1]
        if isinstance(top.values, list):
            top.values.append(value)
        else:
            top.values[top.key or ""] = value
            top.key = None

    def _refuse_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag != "!":
            raise YamlRefused(line, f"the tag {tag} is not read", "leave the tag out", self._pointer())


def scalar(text: str, line: int) -> JsonValue:
    """What a word without quotes means, by the core schema of YAML 1.2 without octal and hexadecimal numbers."""
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text) or FALSE.fullmatch(text):
        return text[0] in "tT"
    if INTEGER.fullmatch(text):
        if len(text) > 4300:
            raise YamlRefused(line, f"a number of {len(text):,} digits", "write it as a string, in quotes")
        return int(text)
    if FLOAT.fullmatch(text):
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise YamlRefused(line, f"the number {text[:40]} is too large", "write it as a string, in quotes")
        return number
    if NOT_A_NUMBER.fullmatch(text):
        raise YamlRefused(line, f"{text} is not a JSON number", "write null, or a string in quotes")
    return text


def escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def read_yaml(text: str, limits: Limits) -> YamlDocument:
    """The one document in the text; raises YamlRefused at the first thing that is wrong. Takes time in proportion to the text."""
    reader = _Reader(limits.depth)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            reader.read(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlRefused(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}", "mend the syntax") from None
    except yaml.YAMLError as error:
        raise YamlRefused(1, f"not YAML: {' '.join(str(error).split())}", "mend the syntax") from None
    if not reader.root:
        raise YamlRefused(1, "the file is empty", "write a definition with `steps` or `tasks`")
    return YamlDocument(reader.root[0], reader.lines)
