"""When an attempt has run out of time: its timeout, and the time within which its code must say again that it moves.

Neither counts while the attempt waits for a thread or a process. Both are looked at by one timer, which is set again as long as there is
time left: a sign of life costs no timer.
"""

from __future__ import annotations

import json
import time
from typing import Any

from engine.errors import NoProgress, TaskError, TaskTimedOut
from scheduler.lanes import Run

CLOCK_SECONDS = 0.001
"""Event loops count in milliseconds: a timer may fire this much early."""
LATE_SECONDS = 0.05
"""A timer that fires later than this was held up by code that blocked the loop."""
UNBEGUN_SECONDS = 0.01
"""How often a run is looked at, at most, while it waits for a thread or a process."""
SHOWN_CHARS = 200
"""Of the last progress, in an error's text."""


def has_deadline(run: Run) -> bool:
    return run.attempt.timeout_seconds is not None or run.attempt.heartbeat_timeout_seconds is not None


def seconds_left(run: Run) -> float:
    """Until the nearer of its deadlines; CLOCK_SECONDS or less where that has come. A run that has not begun has all of its time.

    An async attempt whose loop was blocked could not show a sign of life meanwhile: it gets as long again as the loop was late.
    """
    now = time.monotonic()
    timeout_at, progress_at = _deadlines(run, now)
    late = now - progress_at
    if late > LATE_SECONDS and run.function.kind == "async":
        run.held_up_seconds += 2 * late
        progress_at += 2 * late
    return min(timeout_at, progress_at) - now


def overdue(run: Run) -> TaskError:
    """The error of a run that has no time left: that of the deadline which came first."""
    timeout_at, progress_at = _deadlines(run, time.monotonic())
    attempt = run.attempt
    if attempt.heartbeat_timeout_seconds is not None and progress_at < timeout_at:
        return NoProgress(attempt.heartbeat_timeout_seconds, _shown(attempt.progress))
    assert attempt.timeout_seconds is not None
    return TaskTimedOut(attempt.timeout_seconds)


def _deadlines(run: Run, now: float) -> tuple[float, float]:
    """Monotonic seconds; infinite where there is none."""
    attempt = run.attempt
    began = now if run.began is None else run.began
    timeout_at = progress_at = float("inf")
    if attempt.timeout_seconds is not None:
        timeout_at = began + attempt.timeout_seconds
    if attempt.heartbeat_timeout_seconds is not None:
        progress_at = max(began, attempt.progress_seen) + attempt.heartbeat_timeout_seconds + run.held_up_seconds
    return timeout_at, progress_at


def _shown(progress: Any) -> str | None:
    if progress is None:
        return None
    try:
        text = json.dumps(progress, ensure_ascii=False)
    except Exception:  # noqa: BLE001  # progress may be of the user's own class, whose methods may raise anything
        text = f"<{type(progress).__name__}>"
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
