"""What clients asked for and what task code did, kept outside Redis: Redis may forget, a history does not.

Clients note each call before and after it; task code notes each attempt and each effect itself. Entries are appended, never changed, so a
repeat shows as a second entry. With a path they go to a file of JSON lines that several processes, and containers with a shared folder,
write together: each line is one write in append mode.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import JsonValue

Phase = Literal["invoke", "ok", "fail", "unknown", "attempt_started", "attempt_ended", "effect", "fault"]
Outcome = Literal["ok", "fail", "unknown"]
Facts = Mapping[str, JsonValue]

NUMBER_BYTES = 6
"""Numbers of operations are random, so that the clients of several processes never share one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a history."""

    phase: Phase
    at_ms: int
    """When it was noted, by the clock of the machine that noted it."""
    facts: Facts
    number: int | None = None
    """Of the client's operation; None for what tasks note."""

    def text(self, name: str) -> str | None:
        """A fact that is a text; None where it is missing or something else."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else None

    def integer(self, name: str) -> int | None:
        """A fact that is a whole number, likewise."""
        value = self.facts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Operation:
    """A client's call and how it ended; a call whose end nobody noted is `unknown`, like one whose reply was lost."""

    number: int
    kind: str
    asked: Facts
    outcome: Outcome
    answered: Facts
    """Empty until it ends."""

    def text(self, name: str) -> str | None:
        """A fact that the call named, and that is a text; None otherwise."""
        value = self.asked.get(name)
        return value if isinstance(value, str) else None

    @property
    def run_id(self) -> str | None:
        """The run that the answer names, else the one that the call named."""
        value = self.answered.get("run_id", self.asked.get("run_id"))
        return value if isinstance(value, str) else None


class History:
    """Append-only and safe in threads. `clock` gives seconds since the epoch."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The history in a file, to which it may go on writing. Raises FileNotFoundError."""
        path.stat()
        return cls(path)

    def invoke(self, kind: str, **facts: JsonValue) -> int:
        """Notes that a client's call starts: `post`, `cancel`, `status`, `events`, … Answers the operation's number."""
        number = int.from_bytes(os.urandom(NUMBER_BYTES))
        self._append("invoke", {"kind": kind, **facts}, number)
        return number

    def ok(self, number: int, **facts: JsonValue) -> None:
        """The call was answered. A post's facts: `run_id`, and `existing` where it is known; a status or cancel: `run_id`, `state`."""
        self._append("ok", facts, number)

    def fail(self, number: int, **facts: JsonValue) -> None:
        """The call was refused, and certainly changed nothing."""
        self._append("fail", facts, number)

    def unknown(self, number: int, **facts: JsonValue) -> None:
        """No answer came: the call may have been carried out, or not, or may still be."""
        self._append("unknown", facts, number)

    def attempt_started(self, *, run_id: str, task_id: str, attempt: int, fencing_token: int, pod_id: str) -> None:
        """The task's code runs; written by that code, before anything else."""
        self._append("attempt_started", _attempt(run_id, task_id, attempt, fencing_token, pod_id))

    def attempt_ended(self, *, run_id: str, task_id: str, attempt: int, fencing_token: int, pod_id: str, outcome: str) -> None:
        """The task's code is about to return (`succeeded`) or to raise (`failed`); whether that counts, its commit decides."""
        self._append("attempt_ended", {**_attempt(run_id, task_id, attempt, fencing_token, pod_id), "outcome": outcome})

    def effect(self, *, run_id: str, task_id: str, name: str, key: str, phase: Literal["sent", "confirmed"]) -> None:
        """An effect on the outside world was sent, or is known to be confirmed."""
        self._append("effect", {"run_id": run_id, "task_id": task_id, "name": name, "key": key, "phase": phase})

    def fault(self, kind: str, **facts: JsonValue) -> None:
        """Something was broken on purpose: `kill`, `freeze`, `cut`, … of a pod (`pod_id`) or of the server."""
        self._append("fault", {"kind": kind, **facts})

    def entries(self) -> list[Entry]:
        """All entries in the order in which they were written; from the file where there is one. Raises ValueError for a broken line."""
        if self._path is None:
            with self._lock:
                return list(self._entries)
        if not self._path.exists():
            return []
        # Whoever was killed while it wrote has left a line without an end: what it was to say is not known.
        lines = self._path.read_bytes().split(b"\n")[:-1]
        return [self._parsed(number, line) for number, line in enumerate(lines, 1)]

    def operations(self) -> list[Operation]:
        """The clients' calls in the order in which they started."""
        entries = self.entries()
        ends = {entry.number: entry for entry in entries if entry.phase in {"ok", "fail", "unknown"}}
        return [_operation(entry, ends.get(entry.number)) for entry in entries if entry.phase == "invoke"]

    def _append(self, phase: Phase, facts: Facts, number: int | None = None) -> None:
        entry = Entry(phase, int(self._clock() * 1000), dict(facts), number)
        with self._lock:
            if self._path is None:
                self._entries.append(entry)
                return
            line = json.dumps({"phase": phase, "at_ms": entry.at_ms, "number": number, "facts": entry.facts}, separators=(",", ":"))
            with self._path.open("ab", buffering=0) as file:
                file.write(line.encode() + b"\n")

    def _parsed(self, number: int, line: bytes) -> Entry:
        try:
            written = cast("dict[str, Any]", json.loads(line))
            return Entry(written["phase"], written["at_ms"], written["facts"], written["number"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {self._path} is no entry of a history: {line[:200]!r}") from error


def _attempt(run_id: str, task_id: str, attempt: int, fencing_token: int, pod_id: str) -> Facts:
    return {"run_id": run_id, "task_id": task_id, "attempt": attempt, "fencing_token": fencing_token, "pod_id": pod_id}


def _operation(start: Entry, end: Entry | None) -> Operation:
    asked = dict(start.facts)
    kind = str(asked.pop("kind"))
    outcome = cast(Outcome, "unknown" if end is None else end.phase)
    return Operation(start.number or 0, kind, asked, outcome, {} if end is None else end.facts)
