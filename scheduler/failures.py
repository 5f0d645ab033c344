"""How an attempt's failure is put into words: class, text, traceback, and the class names that `retry.on` may mean."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType

from engine.errors import TaskFailed
from engine.outcome import MESSAGE_BYTES, TRACEBACK_BYTES, Failed, TaskErrorInfo

OWN_MODULES = frozenset(
    {
        "scheduler.calls",
        "scheduler.coroutines",
        "scheduler.registry",
        "scheduler.threads",
        "scheduler.child",
        "scheduler.executor",
        "threading",
    }
)
"""Frames of these stand between the user's function and us; a traceback starts behind them."""


class ReturnedFalse(TaskFailed):
    """The function returned `False`, which says that the task failed."""

    def __str__(self) -> str:
        return "the function returned False"


class InvalidResult(TaskFailed):
    """The function returned something that cannot be stored as its result."""


class ResultTooLarge(InvalidResult):
    """The result is larger than a task's result may be."""

    def __init__(self, actual: str, result_bytes: int) -> None:
        self.actual = actual
        self.result_bytes = result_bytes
        super().__init__(actual, result_bytes)

    def __str__(self) -> str:
        return (
            f"the result has {self.actual} bytes as JSON, the limit result_bytes is {self.result_bytes}; "
            "store it elsewhere and return where it is"
        )


class InvalidArguments(TaskFailed):
    """The arguments do not fit the function's parameters; `problems` has one text for each that is wrong."""

    def __init__(self, function: str, problems: Iterable[str]) -> None:
        self.function = function
        self.problems = tuple(problems)
        super().__init__(function, self.problems)

    def __str__(self) -> str:
        return f"{self.function}: {'; '.join(self.problems)}"


class ProcessDied(TaskFailed):
    """The child process ended in the middle of an attempt."""


class ThreadUnavailable(TaskFailed):
    """The operating system gave no thread to run the function in."""


def failed(error: BaseException, *, trace: str | None = None, retryable: bool = True) -> Failed:
    """The failure that `error` describes. Texts are cut to what is stored, so that a huge message stays cheap."""
    return Failed(
        TaskErrorInfo(
            type=type(error).__name__,
            message=_text(error)[: MESSAGE_BYTES + 1],
            traceback=None if trace is None else trace[-TRACEBACK_BYTES - 1 :],
        ),
        retryable=retryable,
        mro=tuple(f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__[:-1]),
    )


def failed_in_user_code(error: BaseException, *, retryable: bool = True) -> Failed:
    """The failure with its traceback, from the user's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in OWN_MODULES:
        trace = trace.tb_next
    return failed(error, trace=_formatted(error, trace), retryable=retryable)


def where_coroutine_waits(task: asyncio.Task[object]) -> str | None:
    """The stack at which a task's coroutine is suspended, as text; None where it has none."""
    return _stack((frame, frame.f_lineno) for frame in _awaited_frames(task.get_coro()))


def where_thread_is(ident: int) -> str | None:
    """The stack that a thread of this process executes right now, as text; None where it has ended."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented, in spite of its name
    if frame is None:
        return None
    return _stack(reversed(list(traceback.walk_stack(frame))))


def _awaited_frames(awaited: object) -> Iterator[FrameType]:
    for _ in range(100):  # deeper stacks tell nothing more
        frame = next((found for name in ("cr_frame", "gi_frame", "ag_frame") if (found := getattr(awaited, name, None))), None)
        if frame is None:
            return
        yield frame
        awaited = next((found for name in ("cr_await", "gi_yieldfrom", "ag_await") if (found := getattr(awaited, name, None))), None)


def _stack(frames: Iterator[tuple[FrameType, int]]) -> str | None:
    users = [pair for pair in frames if pair[0].f_globals.get("__name__") not in OWN_MODULES]
    if not users:
        return None
    return "It was here (most recent call last):\n" + "".join(traceback.StackSummary.extract(iter(users)).format())


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001  # the user's __str__ may raise anything
        return f"<no text: __str__ raised {type(broken).__name__}>"


def _formatted(error: BaseException, trace: TracebackType | None) -> str | None:
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # noqa: BLE001  # the user's exception may break its own formatting
        return None
