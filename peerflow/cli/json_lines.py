"""Where a JSON pointer stands in a JSON text, by line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


@dataclass(slots=True)
class _Frame:
    """An open object or array; `step` is the key or index that the next value has in it."""

    is_object: bool
    step: str
    at_key: bool
    position: int


def line_of(text: str, pointer: str, *, last: bool = False) -> int | None:
    """The line, counted from 1, of the key or value that the RFC 6901 pointer names; None where the text has none.

    `last` asks for the last place with that pointer (the second of two equal keys). Works on broken texts up to the break, without
    recursion, in one pass.
    """
    wanted = parse_pointer(pointer)
    found: int | None = None
    path: list[_Frame] = []
    for match in TOKEN.finditer(text):
        piece = match[0]
        top = path[-1] if path else None
        if piece == "," and top is not None:
            top.step, top.at_key = ("", True) if top.is_object else (str(int(top.step) + 1), False)
        elif piece in "}]":
            if path:
                path.pop()
        elif piece == ":" and top is not None:
            top.at_key = False
        elif top is not None and top.at_key and piece.startswith('"'):
            top.step, top.position = _unquote(piece), match.start()
        else:
            if len(path) == len(wanted) and all(frame.step == step for frame, step in zip(path, wanted, strict=True)):
                # The key's own line for a member of an object, the value's line for an item of an array.
                found = text.count("\n", 0, top.position if top is not None and top.is_object else match.start()) + 1
                if not last:
                    return found
            if piece in "{[":
                path.append(_Frame(piece == "{", "" if piece == "{" else "0", piece == "{", match.start()))
    return found


def parse_pointer(pointer: str) -> list[str]:
    """The steps of an RFC 6901 pointer; the empty pointer is the whole document."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _unquote(piece: str) -> str:
    try:
        value: object = json.loads(piece, strict=False)
    except ValueError:
        return piece[1:-1]
    return str(value)
