"""Counts what happens: at every hop through `Tally`'s own methods, everything else from published events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from engine import events
from engine.events import Event
from engine.observer import End
from peerflow.metrics import catalogue
from peerflow.metrics.instruments import Buckets, Counts, Histograms
from storage.scripts import NAMES

NOTHING: Final = ()
FROM_ZERO: Final = {
    catalogue.RUNS_FINISHED: [("succeeded",), ("failed",), ("cancelled",)],
    catalogue.COMMITS_REFUSED: [("stale",), ("run_ended",)],
    catalogue.TASKS_REAPED: [("requeued",), ("failed",)],
    catalogue.CALL_FAILURES: [(name,) for name in NAMES],
}
"""Counters whose labels are words of this code."""


class Tally:
    """An Observer, a Publisher, an OnCall, and what the API tells of its requests."""

    def __init__(self) -> None:
        self.counts = {family: Counts() for family in catalogue.FAMILIES if family.kind == "counter"}
        self.histograms = {family: Histograms(family.bounds) for family in catalogue.FAMILIES if family.kind == "histogram"}
        # From 0 on, so that the first one shows as an increase.
        for family, counts in self.counts.items():
            for labels in FROM_ZERO.get(family, [] if family.labels else [NOTHING]):
                counts.add(labels, 0)
        for family, histograms in self.histograms.items():
            if not family.labels:
                histograms.of(NOTHING)
        self._attempts = self.counts[catalogue.ATTEMPTS]
        self._waits: dict[str, Buckets] = {}
        self._durations: dict[str, Buckets] = {}
        self._calls: dict[str, Buckets] = {}
        self._beats, self._lags = self._plain(catalogue.HEARTBEAT_SECONDS), self._plain(catalogue.HEARTBEAT_LAG)
        self._takeovers = self._plain(catalogue.TAKEOVER)
        self.loop_lag = self._plain(catalogue.LOOP_LAG)
        # Events come from two threads, a few for each run.
        self._lock = threading.Lock()

    def _plain(self, family: catalogue.Family) -> Buckets:
        return self.histograms[family].of(NOTHING)

    def claimed(self, lane: str, waited_seconds: float, /) -> None:
        waits = self._waits.get(lane)
        if waits is None:
            queue, _, function = lane.partition("/")
            waits = self._keep(self._waits, lane, catalogue.QUEUE_WAIT, (queue, function))
        waits.observe(waited_seconds)

    def ended(self, function: str, end: End, seconds: float | None, /) -> None:
        self._attempts.add((function, end))
        if seconds is not None:
            durations = self._durations.get(function)
            if durations is None:
                durations = self._keep(self._durations, function, catalogue.ATTEMPT_SECONDS, (function,))
            durations.observe(seconds)

    def taken_over(self, function: str, seconds: float, /) -> None:
        self._attempts.add((function, End.LOST))
        self._takeovers.observe(seconds)

    def beaten(self, late_seconds: float, seconds: float, /) -> None:
        self._lags.observe(late_seconds)
        self._beats.observe(seconds)

    def call_ended(self, script: str, seconds: float, answered: bool, /) -> None:  # noqa: FBT001  (as OnCall has it)
        """Takes what storage tells of its script calls."""
        calls = self._calls.get(script)
        if calls is None:
            calls = self._keep(self._calls, script, catalogue.CALL_SECONDS_OF, (script,))
        calls.observe(seconds)
        if not answered:
            self.counts[catalogue.CALL_FAILURES].add((script,))

    def request_ended(self, method: str, route: str, status: str, seconds: float) -> None:
        """Takes what the API tells of its requests."""
        self.counts[catalogue.REQUESTS].add((method, route, status))
        self.histograms[catalogue.REQUEST_SECONDS].of((method, route)).observe(seconds)

    def _keep(self, kept: dict[str, Buckets], name: str, family: catalogue.Family, labels: tuple[str, ...]) -> Buckets:
        series = self.histograms[family].of(labels)
        # The shortcut is as bounded as the family.
        if len(kept) < len(self.histograms[family]):
            kept[name] = series
        return series

    def publish(self, event: Event, /) -> None:
        counted = _COUNTED.get(type(event))
        if counted is not None:
            with self._lock:
                for family, labels, by in counted(event):
                    self.counts[family].add(labels, by)


Counted = list[tuple[catalogue.Family, tuple[str, ...], float]]

_COUNTED: Final[dict[type[Event], Callable[[Any], Counted]]] = {
    events.RunCreated: lambda _: [(catalogue.RUNS_CREATED, NOTHING, 1)],
    events.RunFinished: lambda e: [(catalogue.RUNS_FINISHED, (e.state.value,), 1)],
    events.RunCancelled: lambda _: [(catalogue.RUNS_FINISHED, ("cancelled",), 1)],
    events.RetryScheduled: lambda e: [(catalogue.RETRIES, (e.function,), 1)],
    events.CommitRefused: lambda e: [(catalogue.COMMITS_REFUSED, ("run_ended" if e.current == events.RUN_HAD_ENDED else "stale",), 1)],
    events.LeaseLost: lambda _: [(catalogue.LEASES_LOST, NOTHING, 1)],
    events.TasksReaped: lambda e: [
        (catalogue.TASKS_REAPED, ("requeued",), e.requeued),
        (catalogue.TASKS_REAPED, ("failed",), e.failed),
    ],
    events.LimboRepaired: lambda e: [(catalogue.LIMBO_REPAIRS, NOTHING, e.repairs)],
    events.StorageLost: lambda _: [(catalogue.OUTAGES, NOTHING, 1)],
    events.StorageBack: lambda e: [(catalogue.OUTAGE_SECONDS, NOTHING, e.duration_seconds)],
    events.HeartbeatLate: lambda _: [(catalogue.HEARTBEATS_LATE, NOTHING, 1)],
    events.LoopFailed: lambda e: [(catalogue.LOOP_FAILURES, (e.loop,), 1)],
}
"""What each event adds to which counters; what happens more often than these is told to the methods above."""
