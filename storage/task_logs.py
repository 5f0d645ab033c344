"""What attempts have printed and logged, as pods send it and as storage keeps it.

A run's log is one list (`run:<id>:log`), so that it ends with the run, and its order is that of arrival. An entry is a piece: up to a few
hundred lines of one attempt, and the server's time when it came. Lines carry their age in ms when they were sent; together that gives
their instants by the server's clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import StorageCorrupt
from storage.scripts import Argument

BATCHES_PER_CALL: Final = 64
BODY_BYTES: Final = 128 * 1024
"""Of one piece; a line alone may make it larger, by as much as a line has."""
CALL_BYTES: Final = 512 * 1024
"""Bodies of one call, which so holds the server for little more than a ms."""
STREAMS: Final = ("stdout", "stderr", "log")
DROPPED: Final = "peerflow"
"""The stream of a line that says how many were dropped there."""


@dataclass(frozen=True, slots=True)
class LogCaps:
    """How much is kept; the oldest goes first."""

    lines: int = 5_000
    """Of an attempt."""
    size: int = 1024 * 1024
    """Bytes of an attempt."""
    run_size: int = 64 * 1024 * 1024
    """Bytes of a run."""


@dataclass(slots=True)
class Batch:
    """Lines of an attempt on their way into storage."""

    index: int
    attempt: int
    op: str
    """Names the batch: sent again with the same one, it is stored once. 8 hex digits."""
    lines: int
    dropped: int
    """Lines before these that were dropped in the pod."""
    body: bytes

    def arguments(self) -> list[Argument]:
        return [self.index, self.attempt, self.op, self.lines, self.dropped, self.body]


@dataclass(frozen=True, slots=True, order=True)
class LogPlace:
    """A line's place in its run's log: of two the later one is greater."""

    piece: int
    """Counted from 1, also those that are gone by now."""
    line: int
    """Counted from 1 within its piece; 0 for the news of what was dropped before it."""

    def __str__(self) -> str:
        return f"{self.piece}-{self.line}"

    @classmethod
    def parse(cls, text: str) -> LogPlace | None:
        """None for what is no place."""
        found = PLACE.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))


BEGINNING: Final = LogPlace(0, 0)
PLACE: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, or one record of `logging`, whose text may have several."""

    place: LogPlace
    at_ms: int
    task_id: str
    attempt: int
    pod: str
    stream: str
    """`stdout`, `stderr`, `log`; `peerflow` where it tells of lines that were dropped."""
    text: str
    level: str | None = None
    logger: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of the list."""

    place: int
    at_ms: int
    index: int
    attempt: int
    pod: str
    dropped: int
    body: str

    @classmethod
    def parse(cls, place: int, entry: str) -> Piece:
        """From an entry as the server has it. Raises StorageCorrupt."""
        head, _, body = entry.partition("\n")
        try:
            at_ms, name, _, _, dropped, pod = head.split(" ")
            index, attempt = name.split(":")
            return cls(place, int(at_ms), int(index), int(attempt), pod, int(dropped), body)
        except ValueError:
            raise StorageCorrupt(f"an entry of a log: {head[:100]!r}") from None

    def lines(self, task_id: str) -> list[LogLine]:
        """Its lines in their order."""

        def line(number: int, age_ms: int, stream: str, text: str, level: str | None = None, logger: str | None = None) -> LogLine:
            place = LogPlace(self.place, number)
            return LogLine(place, self.at_ms - age_ms, task_id, self.attempt, self.pod, stream, text, level, logger)

        try:
            rows: list[list[Any]] = json.loads(self.body)
            found = [line(number, row[0], STREAMS[int(row[1])], *row[2:]) for number, row in enumerate(rows, 1)]
        except (ValueError, TypeError, IndexError) as error:
            raise StorageCorrupt(f"an entry of a log: {error}") from error
        if self.dropped:
            told = f"{self.dropped:,} line{'' if self.dropped == 1 else 's'} dropped here: they came faster than they can be kept"
            found.insert(0, line(0, rows[0][0] if rows else 0, DROPPED, told))
        return found


def encode_line(age_ms: int, stream: str, text: str, level: str | None, logger: str | None) -> bytes:
    """One line of a body, which is a JSON array of them. Half a surrogate pair, which UTF-8 cannot carry, becomes its escape."""
    row: list[object] = [age_ms, STREAMS.index(stream), text]
    if level is not None or logger is not None:
        row += [level, logger]
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def body_of(lines: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(lines) + b"]"
