"""S8 and L6: a pod that lived loses nothing, and where Redis forgets nothing there is nothing to repair.

Which pods lived, with heartbeats all the time, the caller says. That leases are revived after an outage of Redis, also a long one, and that
user code cannot hold heartbeats up: tests/chaos/test_redis_dies.py and test_pods_die.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from peerflow.testing.records import RunRecord
from peerflow.testing.replay import REPAIRS
from peerflow.testing.violation import Violation


def in_events(record: RunRecord, unharmed: Collection[str], *, rollback: bool) -> Iterator[Violation]:
    """Attempts that were taken from pods which lived, and repairs."""
    for event in record.events:
        if event.type == "task_lost" and event.pod in unharmed:
            text = f"event {event.seq}: attempt {event.attempt} was taken from pod {event.pod}, which lived"
            yield Violation("S8", record.run.run_id, event.task_id, text)
        elif event.type in REPAIRS and not rollback:
            yield Violation("L6", record.run.run_id, event.task_id, f"event {event.seq}: something was repaired: {event.detail}")
