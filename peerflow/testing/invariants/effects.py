"""E1: an effect of `ctx.once(name)` is confirmed at most once, and has the same key in all attempts.

Events and the history that task code keeps say so independently of each other. After a rollback Redis may have forgotten a confirmation,
and the effect may be confirmed again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from peerflow.testing.history import Entry
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation

Named = tuple[str | None, str | None, str | None]
"""Run, task, name of the effect."""


def in_events(record: RunRecord) -> Iterator[Violation]:
    """What the run's events say of its effects."""
    confirmed = Counter((event.task_id, event.detail) for event in record.events if event.type == "effect_confirmed")
    for (task_id, name), times in confirmed.items():
        if times > 1:
            yield Violation("E1", record.run.run_id, task_id, f"the effect {name!r} was confirmed {times} times")


def in_history(entries: list[Entry], *, rollback: bool) -> Iterator[Violation]:
    """What task code noted of its effects."""
    keys: dict[Named, set[str | None]] = defaultdict(set)
    confirmed: Counter[Named] = Counter()
    for entry in entries:
        if entry.phase == "effect":
            named = entry.text("run_id"), entry.text("task_id"), entry.text("name")
            keys[named].add(entry.text("key"))
            confirmed[named] += entry.text("phase") == "confirmed"
    for (run_id, task_id, name), found in keys.items():
        if len(found) > 1:
            yield Violation("E1", run_id, task_id, f"the effect {name!r} had {len(found)} different keys")
        if (times := confirmed[run_id, task_id, name]) > 1 and not rollback:
            yield Violation("E1", run_id, task_id, f"its code saw the effect {name!r} confirmed {times} times")
