"""What a pod and its child processes say to each other: JSON objects, each after its length in four bytes. Never pickle.

pod → child    {"op": "hello", "path", "environ", "modules", "log_level", "task_log_level"}   once, first
               {"op": "run", "claim_id", "function", "args", "context", "result_bytes", "beat_seconds"}
child → pod    {"op": "ready"}                                                 once, when it has imported the modules
               {"op": "beat", "claim_id", "progress"}
               {"op": "done", "claim_id", "outcome"}
               {"op": "lines", …}                                              see `scheduler.child_lines`
both           {"op": "effect", …}                                             see `scheduler.effect_pipe`
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from engine.outcome import Failed, Outcome, Sleeping, Succeeded, TaskErrorInfo

LENGTH = struct.Struct(">I")
MAX_BYTES = 64 * 1024 * 1024
"""Far above the largest arguments or result: a longer message is not one of ours."""


class WireError(Exception):
    """The bytes are not what the other side sends: user code wrote into the pipe."""


def pack(message: dict[str, Any]) -> bytes:
    """The message as bytes. Escaped to ASCII, so that text which UTF-8 cannot hold arrives as it was."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


class Unpacker:
    """Finds the messages in bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are complete now; WireError where the bytes are none."""
        self._data += data
        while len(self._data) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._data)
            if size > MAX_BYTES:
                raise WireError(f"a message of {size} bytes")
            end = LENGTH.size + size
            if len(self._data) < end:
                return
            body = bytes(self._data[LENGTH.size : end])
            del self._data[:end]
            try:
                message = json.loads(body)
            except ValueError as error:
                raise WireError(str(error)) from None
            if not isinstance(message, dict):
                raise WireError("a message that is no object")
            yield message


def outcome_to_wire(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Succeeded(result_json):
            return {"is": "succeeded", "result_json": result_json}
        case Sleeping(seconds, result_json):
            return {"is": "sleeping", "seconds": seconds, "result_json": result_json}
        case Failed(error, retryable, mro):
            return {
                "is": "failed",
                "type": error.type,
                "message": error.message,
                "traceback": error.traceback,
                "retryable": retryable,
                "mro": mro,
            }


def outcome_from_wire(value: Any) -> Outcome:
    """The outcome; WireError where a field is missing or of another type."""
    try:
        match value["is"]:
            case "succeeded":
                return Succeeded(_text(value["result_json"]))
            case "sleeping":
                return Sleeping(float(value["seconds"]), _text(value["result_json"]))
            case "failed":
                trace = value["traceback"]
                error = TaskErrorInfo(_text(value["type"]), _text(value["message"]), None if trace is None else _text(trace))
                return Failed(error, retryable=value["retryable"] is True, mro=tuple(_text(name) for name in value["mro"]))
            case _:
                raise WireError(f"an outcome that is {value['is']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"an outcome without a proper {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text ({type(value).__name__} instead)")
    return value
