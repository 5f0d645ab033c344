"""Progress without a terminal (a log, a pipe): a line when something changed, never a cursor movement."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.text import Text

from engine.states import TaskState
from peerflow.cli.output import clean, plural
from peerflow.cli.snapshot import Snapshot
from peerflow.cli.summary import last_word
from peerflow.client import ApiError, PodUnreachable

SHOWN = (TaskState.RUNNING, TaskState.WAITING, TaskState.READY, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED)

SHOWN_REASONS = 10
"""Of tasks that nobody can run; `peerflow explain` shows all."""


class PlainView:
    """Prints each state of the run that differs from the one before, and each failure once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""
        self._failures: set[str] = set()
        self._reasons: set[str] = set()
        self._silent = False

    def __enter__(self) -> None: ...

    def __exit__(self, *details: object) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        if self._silent:
            self._silent = False
            self._print("a pod answers again")
        for task in snapshot.failed:
            if task.id not in self._failures:
                self._failures.add(task.id)
                self._print(f"{clean(task.id)} failed after {plural(task.attempts, 'attempt')}: {last_word(task).plain}")
        counts = [f"{snapshot.count(state):,} {state}" for state in SHOWN if snapshot.count(state)]
        line = ", ".join([f"{snapshot.run.done:,}/{snapshot.run.total:,} done", *counts])
        if line != self._last:
            self._last = line
            self._print(line)
        self._tell_reasons(snapshot)

    def _tell_reasons(self, snapshot: Snapshot) -> None:
        """Why nothing runs, and which tasks nobody can run: each once, until no task is ready."""
        reasons = [snapshot.run.reason] if snapshot.run.reason and not snapshot.run.finished else []
        reasons += [f"{task.id} is ready: {task.reason}" for task in snapshot.stuck[:SHOWN_REASONS]]
        for reason in reasons:
            if reason not in self._reasons:
                self._reasons.add(reason)
                self._print(clean(reason))
        if not snapshot.count(TaskState.READY):
            self._reasons.clear()

    def silent(self, error: PodUnreachable | ApiError) -> None:
        if not self._silent:
            self._silent = True
            self._print(f"asking again: {error}")

    def _print(self, line: str) -> None:
        self._console.print(Text(f"{datetime.now().astimezone():%H:%M:%S} {line}"), soft_wrap=True)
