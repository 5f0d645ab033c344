"""Writes log lines from a thread of its own, so that whoever logs never waits for the terminal or the pipe.

A stopped terminal (Ctrl-S) or a full pipe must not stop the loops, and least of all the heartbeats.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from queue import SimpleQueue
from typing import Final, TextIO

WAITING_LINES: Final = 10_000
"""Records that may wait for a slow stream; what comes after them is dropped and counted."""
CLOSE_SECONDS: Final = 2.0
"""How long the end of the program waits for the last lines."""


class LogWriter(logging.Handler):
    """A handler whose `emit` only enqueues; formatting and writing happen in a daemon thread, in order."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._dropped = 0
        self.dropped_total = 0
        """Lines dropped since the start."""
        self._thread = threading.Thread(target=self._write_all, name="peerflow-log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """As the base class, without its lock: the queue is safe by itself, and nobody may wait here."""
        accepted = bool(self.filter(record))
        if accepted:
            self.emit(record)
        return accepted

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= WAITING_LINES:
            self._dropped += 1
            self.dropped_total += 1
        else:
            self._waiting.put(record)

    def close(self) -> None:
        """Writes what is waiting, for at most CLOSE_SECONDS."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(CLOSE_SECONDS)
        super().close()

    def _write_all(self) -> None:
        while (record := self._waiting.get()) is not None:
            # Not one line may end this thread: a stream can be closed under it, a record can fail to format.
            with contextlib.suppress(Exception):
                self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        text = self.format(record) + "\n"
        dropped, self._dropped = self._dropped, 0
        if dropped:
            note = logging.makeLogRecord({"name": "peerflow.log", "levelno": logging.WARNING, "levelname": "WARNING"})
            note.msg = f"{dropped} lines were dropped: the log is read too slowly"
            text += self.format(note) + "\n"
        self._stream.write(text)
        if self._waiting.empty():
            self._stream.flush()
