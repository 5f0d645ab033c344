"""Lines of process functions: the child collects them and sends them through its pipe, the pod takes them as those of its own threads.

child → pod    {"op": "lines", "claim_id", "dropped", "lines": [[age_ms, stream, text, level, logger], …]}
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from scheduler.context import TaskContext
from scheduler.task_lines import Line, LineBuffer, cut
from scheduler.wire import WireError

Message = dict[str, Any]
SEND_SECONDS: Final = 0.25
MESSAGE_BYTES: Final = 128 * 1024
KEPT_LINES: Final = 5_000
KEPT_BYTES: Final = 1024 * 1024
"""What a child holds back for a pod that does not read."""
STREAMS: Final = frozenset({"stdout", "stderr", "log"})


class PipedLines:
    """The `LineSink` in a child process. One thread sends; code that prints never waits for the pipe."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._claim_id = ""
        self._buffer = LineBuffer(KEPT_LINES, KEPT_BYTES)
        # Messages leave in the order in which lines were taken.
        self._sending = threading.Lock()
        threading.Thread(target=self._send_for_ever, name="peerflow-lines", daemon=True).start()

    def begin(self, claim_id: str) -> None:
        """From now on lines are this attempt's; what an earlier one still prints is left out."""
        self._claim_id = claim_id

    def finish(self) -> None:
        """Sends everything, also a line that has not ended."""
        self._buffer.close_lines()
        while self._buffer:
            self._send_some()

    def write(self, context: TaskContext, stream: str, text: str) -> None:
        if context.claim_id == self._claim_id:
            self._buffer.write(stream, text)

    def log(self, context: TaskContext, text: str, level: str, logger: str) -> None:
        if context.claim_id == self._claim_id:
            self._buffer.add(Line(time.monotonic(), "log", text, level, logger))

    def receive(self, context: TaskContext, lines: Sequence[Line], dropped: int) -> None:
        if context.claim_id == self._claim_id:
            self._buffer.lost(dropped)
            for line in lines:
                self._buffer.add(line)

    def _send_for_ever(self) -> None:
        while True:
            time.sleep(SEND_SECONDS)
            self._send_some()

    def _send_some(self) -> None:
        with self._sending:
            lines, dropped = self._buffer.take(MESSAGE_BYTES)
            if lines or dropped:
                now = time.monotonic()
                rows = [[int((now - line.at) * 1000), line.stream, cut(line.text), line.level, line.logger] for line in lines]
                self._send({"op": "lines", "claim_id": self._claim_id, "dropped": dropped, "lines": rows})


def lines_from_wire(message: Message) -> tuple[list[Line], int]:
    """Lines and how many were dropped before them; WireError for what no child sends."""
    now = time.monotonic()
    try:
        dropped, rows = int(message["dropped"]), cast("list[list[Any]]", message["lines"])
        return [_line(now, *row) for row in rows], dropped
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"lines that are none: {error}") from None


def _line(now: float, age_ms: int, stream: str, text: str, level: str | None, logger: str | None) -> Line:
    if stream not in STREAMS or not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(stream)
    return Line(now - max(0, int(age_ms)) / 1000, stream, text, level, logger)
