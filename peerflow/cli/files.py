"""A definition in a file: JSON goes out as it is, YAML becomes JSON, and each problem finds its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import PeerflowError, Problem
from engine.limits import Limits
from engine.strict_json import dumps
from peerflow.cli.json_lines import line_of
from peerflow.cli.yaml_reader import YamlRefused, read_yaml


class FileUnreadable(PeerflowError):
    """The file cannot be opened or is no text."""


class FileRefused(PeerflowError):
    """The definition in the file has problems; `places` has each with its line, where it is known."""

    def __init__(self, name: str, headline: str, places: tuple[tuple[Problem, int | None], ...]) -> None:
        self.name = name
        self.headline = headline
        self.places = places
        super().__init__(f"{name}: {headline}")


@dataclass(frozen=True, slots=True)
class Document:
    """A definition as it goes to a pod; `line` finds a problem's line in what the user wrote."""

    name: str
    body: bytes
    line: Callable[[Problem], int | None]

    def refused(self, headline: str, problems: tuple[Problem, ...]) -> FileRefused:
        """The error with the problems in the order of the file."""
        places = [(problem, self.line(problem)) for problem in problems]
        return FileRefused(self.name, headline, tuple(sorted(places, key=lambda place: place[1] or 0)))


def read_document(path: str, limits: Limits | None = None) -> Document:
    """The definition in a file, or in standard input for `-`; raises FileUnreadable or FileRefused.

    `.yaml` and `.yml` are YAML, `.json` is JSON; anything else is JSON where it begins with a brace or a bracket.
    """
    name = "standard input" if path == "-" else path
    data = _read(path)
    suffix = Path(path).suffix.lower()
    if suffix == ".json" or (suffix not in {".yaml", ".yml"} and data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}):
        return Document(name, data, lambda problem: _json_line(data, problem))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FileUnreadable(f"{name} is not UTF-8 text (byte {error.start:,})") from None
    try:
        document = read_yaml(text, limits or Limits())
    except YamlRefused as error:
        raise FileRefused(name, "the YAML cannot be read", tuple((problem, error.line) for problem in error.problems)) from None
    return Document(name, dumps(document.value).encode(), lambda problem: nearest(document.lines, problem.pointer))


def nearest(lines: dict[str, int], pointer: str) -> int | None:
    """The line of the place, or of the nearest place around it (a missing field has none of its own)."""
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer)


def _json_line(data: bytes, problem: Problem) -> int | None:
    text = data.decode(errors="replace")
    if problem.code == "invalid-json" and not problem.pointer:
        return _syntax_error_line(text)
    pointer = problem.pointer
    while True:
        line = line_of(text, pointer, last=problem.code == "duplicate-key")
        if line is not None or not pointer:
            return line
        pointer = pointer.rpartition("/")[0]


def _syntax_error_line(text: str) -> int | None:
    """Where Python's reader stops; None for what it takes and a pod does not."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        pass
    return None


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileUnreadable(f"{path}: {reason}") from None
