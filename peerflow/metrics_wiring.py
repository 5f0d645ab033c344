"""Brings a pod's metrics and what they tell of together; for `peerflow.service`."""

from __future__ import annotations

import time
from collections.abc import Callable

from peerflow import __version__
from peerflow.api.context import Readiness
from peerflow.log_writer import LogWriter
from peerflow.metrics import Metrics, PodFacts
from peerflow.settings import Settings
from scheduler.pod import Pod
from storage.store import Store


def count(settings: Settings, store: Store, readiness: Readiness, pod: Callable[[], Pod | None], log: LogWriter | None) -> Metrics:
    """From now on the store's calls are counted. `pod` answers None until it has been started; it takes the tally as its observer."""

    def facts() -> PodFacts:
        started, dropped = pod(), log.dropped_total if log else 0
        if started is None:
            return PodFacts(ready=False, storage_answers=True, log_lines_dropped=dropped)
        slots, processes = started.rooms
        return PodFacts(
            ready=readiness()[0],
            storage_answers=not started.storage_fails,
            slots=slots.capacity,
            slots_in_use=slots.taken,
            processes=processes.capacity,
            processes_in_use=processes.taken,
            claims_held=started.held,
            heartbeat_age_seconds=None if started.last_beat is None else max(0.0, time.monotonic() - started.last_beat),
            connections=store.connections(),
            log_lines_dropped=dropped,
        )

    metrics = Metrics(version=__version__, lease_ttl_seconds=settings.lease_ttl_seconds, pod=facts, depths=store.queue_depths)
    store.observe(metrics.tally.call_ended)
    return metrics
