"""What the code of a task prints and logs goes to its attempt's log too.

Which attempt it is says the context variable `scheduler.context.CURRENT`: async code, threads and child processes of the pod have it, as
have `asyncio.to_thread` and tasks that the code starts. A plain `threading.Thread` or an executor of the user's own does not: what is
printed there goes to the pod's own output only, unless it runs in `contextvars.copy_context()`. So does what a subprocess prints, or
code that writes to the file descriptor.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, TextIO, cast

from scheduler.context import CURRENT

POD: Final = "peerflow"
"""The logger of the pod's own events: an attempt's log is about its code."""
TRACEBACK_FRAMES: Final = -20
"""The last ones, where the cause is."""


class TaskStream:
    """Stands before a stream of the process: writes reach it as ever, and those of a task its attempt's log as well."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name, self._write = stream, name, stream.write

    def write(self, text: str) -> int:
        context = CURRENT.get()
        if context is not None and context.lines is not None and isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            context.lines.write(context, self._name, text)
        return self._write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


class TaskLogHandler(logging.Handler):
    """Takes records that are made while a task is current."""

    def handle(self, record: logging.LogRecord) -> bool:
        """As the base class, without its lock: the buffers are safe by themselves."""
        accepted = bool(self.filter(record))
        if accepted:
            self.emit(record)
        return accepted

    def emit(self, record: logging.LogRecord) -> None:
        context = CURRENT.get()
        if context is None or context.lines is None or record.name == POD:
            return
        try:
            context.lines.log(context, _text(record), record.levelname.lower(), record.name)
        except Exception:  # noqa: BLE001  # a record that cannot be formatted
            self.handleError(record)


class TaskFields(logging.Filter):
    """Lets every record pass, and adds `run_id`, `task` and `attempt` to those that are made while a task is current."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = CURRENT.get()
        if context is not None and record.name != POD:
            for name, value in (("run_id", context.run_id), ("task", context.task_id), ("attempt", context.attempt)):
                if not hasattr(record, name):
                    setattr(record, name, value)
        return True


def capture_level() -> int | None:
    """The level from which records are taken in this process; None where nothing is captured."""
    return next((handler.level for handler in logging.getLogger().handlers if isinstance(handler, TaskLogHandler)), None)


@contextmanager
def captured(level: int | None) -> Generator[None]:
    """While it lasts, tasks' output reaches their logs; records from this level of `logging` on, None for no output at all."""
    if level is None:
        yield
        return
    root, handler = logging.getLogger(), TaskLogHandler(level)
    out, err = sys.stdout, sys.stderr
    root.addHandler(handler)
    sys.stdout, sys.stderr = cast(TextIO, TaskStream(out, "stdout")), cast(TextIO, TaskStream(err, "stderr"))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        root.removeHandler(handler)


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info, limit=TRACEBACK_FRAMES)).rstrip()
    return text
