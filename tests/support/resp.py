"""Redis's wire format, as far as a proxy needs it: where a value ends, and the words of a command."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

LINES = b"+-:_#,("
"""Types whose whole value is one line."""
BULKS = b"$!="
SEQUENCES = b"*~>"
MAPS = b"%|"


@dataclass(frozen=True, slots=True)
class Value:
    """One value as it was sent: a command from the client, or a reply from the server."""

    raw: bytes
    words: tuple[bytes, ...]
    """The bulk strings directly inside it: for a command its name and arguments."""


async def read_value(reader: asyncio.StreamReader) -> Value:
    """The next value. Raises IncompleteReadError where the sender has closed, ValueError for bytes that are no RESP."""
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind in LINES:
        return Value(line, ())
    size = int(rest)
    if kind in BULKS:
        body = await reader.readexactly(size + 2) if size >= 0 else b""
        return Value(line + body, (body[:-2],))
    if kind not in SEQUENCES + MAPS:
        raise ValueError(f"no RESP type: {line!r}")
    inside = [await read_value(reader) for _ in range(size * (2 if kind in MAPS else 1))]
    words = tuple(item.words[0] for item in inside if item.raw[:1] in BULKS)
    return Value(line + b"".join(item.raw for item in inside), words)


def error(text: str) -> bytes:
    """An error reply, such as `LOADING Redis is loading the dataset in memory`."""
    return f"-{text}\r\n".encode()
