"""Says of tasks and runs as they are read that nobody can run them: one look at what pods say of themselves, at most once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.reasons import Reason
from engine.states import RunState, TaskState
from storage.capacity import find_reason
from storage.views import PodView, RunView, TaskView

FRESH_SECONDS = 1.0
"""How old what is known of pods may be: a page that is asked for again and again must not read it each time."""


class Fresh:
    """What pods say of themselves, kept for a moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pods: Sequence[PodView] | None = None
        self._read_at = float("-inf")

    @property
    def stale(self) -> bool:
        return self._clock() - self._read_at > FRESH_SECONDS

    @property
    def pods(self) -> Sequence[PodView] | None:
        return self._pods

    def keep(self, pods: Sequence[PodView] | None) -> None:
        self._pods, self._read_at = pods, self._clock()


def with_reasons(tasks: Sequence[TaskView], pods: Sequence[PodView]) -> list[TaskView]:
    """Ready tasks that no living pod can run say so."""
    found: dict[tuple[str, str], str | None] = {}
    told: list[TaskView] = []
    for task in tasks:
        reason = None
        if task.state is TaskState.READY:
            lane = (task.function, task.queue)
            if lane not in found:
                finding = find_reason(*lane, pods)
                found[lane] = finding.text if finding.reason is Reason.NO_CAPABLE_POD else None
            reason = found[lane]
        told.append(task if reason is None else replace(task, reason=reason))
    return told


def nothing_runs(run: RunView) -> bool:
    """True of a live run whose tasks could run, and none does."""
    counts = run.counts
    return run.state is RunState.RUNNING and counts[TaskState.READY] > 0 and counts[TaskState.RUNNING] == 0
