"""L1 in numbers: how long tasks waited for their next attempt after a pod had died. Instants are Redis's, in ms since the epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from peerflow.testing.records import RunRecord
from peerflow.testing.replay import GIVEN_BACK
from storage.views import EventView


@dataclass(frozen=True, slots=True)
class Recovery:
    """A claim that ended with its pod, and the next one of the same task."""

    run_id: str
    task_id: str
    pod_id: str
    """That had it."""
    from_ms: int
    """When it was given back; or when its pod was killed, where the caller says that."""
    started_at_ms: int
    """When the next attempt was claimed."""

    @property
    def seconds(self) -> float:
        return (self.started_at_ms - self.from_ms) / 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds over several recoveries; None where there were none."""

    count: int
    p50: float | None
    p99: float | None
    longest: float | None


def since_lost(runs: Iterable[RunRecord]) -> list[Recovery]:
    """From each lost attempt to the next claim of its task. Tasks that were not tried again are left out."""
    return [
        Recovery(record.run.run_id, task_id, ended.pod or "", ended.at_ms, again.at_ms)
        for record in runs
        for task_id, _, ended, again in _next_claims(record)
        if ended.type == "task_lost"
    ]


def since_killed(runs: Iterable[RunRecord], pod_id: str, killed_at_ms: int) -> list[Recovery]:
    """From a kill to the next claim of each task that the pod held at that instant, and did not finish."""
    return [
        Recovery(record.run.run_id, task_id, pod_id, killed_at_ms, again.at_ms)
        for record in runs
        for task_id, started, ended, again in _next_claims(record)
        if started.pod == pod_id and started.at_ms <= killed_at_ms <= ended.at_ms
    ]


def _next_claims(record: RunRecord) -> Iterator[tuple[str, EventView, EventView, EventView]]:
    """Task, claim, how it was given back, next claim."""
    of_task: dict[str, list[EventView]] = defaultdict(list)
    for event in record.events:
        if event.task_id is not None and (event.type == "task_started" or event.type in GIVEN_BACK):
            of_task[event.task_id].append(event)
    for task_id, events in of_task.items():
        for started, ended, again in zip(events, events[1:], events[2:], strict=False):
            if (started.type, again.type) == ("task_started", "task_started") and ended.type in GIVEN_BACK:
                yield task_id, started, ended, again


def summary(recoveries: Sequence[Recovery]) -> Summary:
    """Percentiles by nearest rank: each is a time that was seen."""
    seconds = sorted(recovery.seconds for recovery in recoveries)
    if not seconds:
        return Summary(0, None, None, None)
    return Summary(len(seconds), percentile(seconds, 50), percentile(seconds, 99), seconds[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of `ordered` values (at least one) that `percent` of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
