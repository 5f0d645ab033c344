"""Lines of one attempt, from the code that prints them to whoever sends them on: bounded, the newest kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from scheduler.context import TaskContext

LINE_BYTES: Final = 64 * 1024
CUT: Final = " … (cut)"
"""At the end of a line that was longer than LINE_BYTES."""
STALE_SECONDS: Final = 5.0
"""A line that has not ended for so long is sent as far as it has come: progress dots, a question that waits for its answer."""
LINE_COST: Final = 100
"""Bytes that a line takes beside its text."""


class Line(NamedTuple):
    at: float
    """Monotonic seconds, by the clock that all processes of a machine share."""
    stream: str
    """`stdout`, `stderr` or `log`."""
    text: str
    level: str | None = None
    logger: str | None = None


class LineSink(Protocol):
    """Takes what attempts print and log; from any thread, without waiting and without raising."""

    def write(self, context: TaskContext, stream: str, text: str) -> None:
        """A write, which may hold several lines, or a part of one."""
        ...

    def log(self, context: TaskContext, text: str, level: str, logger: str) -> None:
        """A record of `logging`."""
        ...

    def receive(self, context: TaskContext, lines: Sequence[Line], dropped: int) -> None:
        """Whole lines that were collected elsewhere, and how many were dropped before them."""
        ...


class _Open:
    """A line that has not ended."""

    __slots__ = ("at", "text")

    def __init__(self, at: float, text: str) -> None:
        self.at, self.text = at, text


class LineBuffer:
    """Joins writes to lines, and keeps the newest up to a number and a size; from any thread.

    The lock may be taken again by the thread that has it: code that the garbage collector runs may print too.
    """

    def __init__(self, lines: int, size: int) -> None:
        """Up to this many lines, and about as many characters."""
        self._most_lines, self._most_size = lines, size
        self._lock = threading.RLock()
        self._lines: deque[Line] = deque()
        self._size = 0
        self._dropped = 0
        self._open: dict[str, _Open] = {}

    def __bool__(self) -> bool:
        """True while anything is in it, also a line that has not ended."""
        return bool(self._lines or self._open or self._dropped)

    @property
    def size(self) -> int:
        """About what its lines take, in bytes."""
        return self._size

    def allow(self, size: int) -> None:
        """From now on it keeps this much."""
        self._most_size = size

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            # As print() writes: a text without a line feed, then the line feed.
            if text == "\n" and stream in self._open:
                self._close(stream)
            elif "\n" not in text:
                if text:
                    self._extend(stream, text)
            else:
                *whole, rest = text.split("\n")
                for part in whole:
                    self._extend(stream, part)
                    self._close(stream)
                if rest:
                    self._extend(stream, rest)

    def add(self, line: Line) -> None:
        with self._lock:
            self._keep(line)

    def close_lines(self, *, older_than_seconds: float = 0.0) -> None:
        """Takes lines that have not ended for what they are by now."""
        begun_before = time.monotonic() - older_than_seconds
        with self._lock:
            for stream in [stream for stream, line in self._open.items() if line.at <= begun_before]:
                self._close(stream)

    def take(self, size: int) -> tuple[list[Line], int]:
        """The oldest lines, up to this size but one at least, and how many were dropped before them."""
        taken: list[Line] = []
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            while self._lines and (not taken or size >= _cost(self._lines[0])):
                line = self._lines.popleft()
                self._size -= _cost(line)
                size -= _cost(line)
                taken.append(line)
        return taken, dropped

    def lost(self, count: int) -> None:
        """Counts lines that were dropped before they came here."""
        with self._lock:
            self._dropped += count

    def _extend(self, stream: str, text: str) -> None:
        line = self._open.get(stream)
        if line is None:
            self._open[stream] = _Open(time.monotonic(), text[: LINE_BYTES + 1])
        elif len(line.text) <= LINE_BYTES:
            line.text += text[: LINE_BYTES + 1]

    def _close(self, stream: str) -> None:
        line = self._open.pop(stream)
        self._keep(Line(line.at, stream, line.text.removesuffix("\r")))

    def _keep(self, line: Line) -> None:
        length = len(line.text)
        if 4 * length > LINE_BYTES:
            line = line._replace(text=cut(line.text))
            length = len(line.text)
        lines = self._lines
        lines.append(line)
        self._size += LINE_COST + length
        while len(lines) > self._most_lines or (self._size > self._most_size and len(lines) > 1):
            self._size -= LINE_COST + len(lines.popleft().text)
            self._dropped += 1


def cut(text: str) -> str:
    """At most LINE_BYTES in UTF-8, with a mark where something is missing."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= LINE_BYTES:
        return text
    return data[: LINE_BYTES - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def _cost(line: Line) -> int:
    return LINE_COST + len(line.text)
