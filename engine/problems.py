"""Collects everything wrong with a document, so that it is refused once, not once for each mistake."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from engine.errors import DefinitionError, Problem

MAX_PROBLEMS = 100
"""Listed in one answer. A document of 100,000 mistakes must not become an answer of 20 MB, nor cost the time to describe them."""

SHOWN_CHARS = 60
"""How much of a wrong text a message repeats."""

NEAREST_BUDGET = 5_000
"""Names compared for one document, each up to 0.1 ms: suggestions are a courtesy and must not become an attack."""


class Problems:
    """A list of different problems; the first `MAX_PROBLEMS` are kept."""

    def __init__(self) -> None:
        # An ordered set: keys in the order in which they were added.
        self._kept: dict[Problem, None] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def full(self) -> bool:
        """True where nothing more is kept: whoever checks a long document may stop."""
        return len(self._kept) >= MAX_PROBLEMS

    def add(self, code: str, pointer: str, message: str, remedy: str) -> None:
        self.add_all([Problem(code, pointer, message, remedy)])

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Adds what is not known yet, and stops asking when it is full."""
        for problem in problems:
            if self.full:
                return
            self._kept[problem] = None

    def raise_if_any(self) -> None:
        """Raises DefinitionError with all problems, unless there is none."""
        if self:
            raise self.error()

    def error(self) -> DefinitionError:
        """All problems as one error."""
        if not self.full:
            return DefinitionError(self._kept)
        rest = Problem("more-problems", "", f"only the first {MAX_PROBLEMS} problems are listed", "repair these first")
        return DefinitionError([*self._kept, rest])


class Nearest:
    """Finds the known name that a wrong one was probably meant to be."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self._found: dict[str, str | None] = {}
        self._budget = NEAREST_BUDGET

    def to(self, name: str) -> str | None:
        """The most similar known name; None where none is similar, or the budget is spent."""
        if name not in self._found:
            self._budget -= len(self._known)
            matches = get_close_matches(name, self._known, n=1) if self._budget >= 0 else []
            self._found[name] = matches[0] if matches else None
        return self._found[name]

    def remedy(self, name: str, otherwise: str) -> str:
        """`did you mean "…"?`, or the other advice."""
        nearest = self.to(name)
        return otherwise if nearest is None else f'did you mean "{nearest}"?'


def pointer_of(parts: Iterable[str | int]) -> str:
    """The RFC 6901 pointer through these keys and positions."""
    return "".join(f"/{part}" if isinstance(part, int) else "/" + escape(part) for part in parts)


def escape(key: str) -> str:
    """A key as a part of a pointer. Lone surrogates, which no answer could carry, become question marks."""
    if not key.isascii():
        key = key.encode("utf-8", "replace").decode("utf-8")
    return key.replace("~", "~0").replace("/", "~1")


def shown(value: object) -> str:
    """A wrong value as a message may repeat it: short, on one line, without control characters."""
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case None | bool() | str():
            text = json.dumps(value[: SHOWN_CHARS + 1] if isinstance(value, str) else value)
        case int() | float():
            text = repr(value)
        case _:
            return f"a Python {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARS + 2 else text[:SHOWN_CHARS] + "…"
