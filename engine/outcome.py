"""What an attempt ended with, as the executor hands it to the loop that commits."""

from __future__ import annotations

import json
from dataclasses import dataclass

TYPE_BYTES = 256
MESSAGE_BYTES = 4 * 1024
TRACEBACK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class TaskErrorInfo:
    """Why an attempt failed: the exception's class name, its text, and its traceback where there is one."""

    type: str
    message: str
    traceback: str | None = None

    def to_json(self) -> str:
        """JSON object `{"type", "message", "traceback"}` of bounded size.

        The message keeps its first 4 KiB, the traceback its last 16 KiB (the line that raised comes last), both in UTF-8 before JSON
        escapes. Lone surrogates, which UTF-8 cannot hold, are shown as escapes.
        """
        return json.dumps(
            {
                "type": _head(self.type, TYPE_BYTES),
                "message": _head(self.message, MESSAGE_BYTES),
                "traceback": None if self.traceback is None else _tail(self.traceback, TRACEBACK_BYTES),
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task function returned; `result_json` is its value as compact JSON."""

    result_json: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; `retryable` is False where another attempt cannot end better (a result that is not JSON, wrong arguments)."""

    error: TaskErrorInfo
    retryable: bool = True
    mro: tuple[str, ...] = ()
    """Dotted names of the exception's class and its bases, nearest first, for `retry.on`; empty: only `error.type` is known."""


@dataclass(frozen=True, slots=True)
class Sleeping:
    """The task waits `seconds` without slot and lease; when the timer fires it has succeeded with `result_json`."""

    seconds: float
    result_json: str


Outcome = Succeeded | Failed | Sleeping


def _head(text: str, limit_bytes: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8")
    return data[: limit_bytes - 3].decode("utf-8", "ignore") + "…"


def _tail(text: str, limit_bytes: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8")
    return "…" + data[len(data) - limit_bytes + 3 :].decode("utf-8", "ignore")
