"""Runs to plant violations in, and what the checker says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from peerflow.testing.checker import check
from peerflow.testing.records import RunRecord
from tests.support.fake_run import FakeRun
from tests.support.lab import dag

RETRIED: dict[str, Any] = {"retry": {"max_attempts": 2, "wait": {"initial": 60, "jitter": 0}}}


def found(run: FakeRun, record: RunRecord | None = None, **options: Any) -> set[str]:
    """The names of the invariants that the checker reports."""
    return {violation.invariant for violation in check(run.history, [record or run.record()], **options)}


def finished(document: dict[str, Any] | None = None) -> FakeRun:
    """A run whose tasks all succeeded, one after the other."""
    run = FakeRun(document or dag(a="", b="a"))
    for task in run.graph.order():
        run.claim(task)
        run.succeed(task)
    return run


def with_task(record: RunRecord, task_id: str, **changes: Any) -> RunRecord:
    return replace(record, tasks=tuple(replace(task, **changes) if task.id == task_id else task for task in record.tasks))


def with_run(record: RunRecord, **changes: Any) -> RunRecord:
    return replace(record, run=replace(record.run, **changes))


def without(record: RunRecord, kind: str) -> RunRecord:
    """Without the events of one type; the others are numbered anew."""
    left = [event for event in record.events if event.type != kind]
    return replace(record, events=tuple(replace(event, seq=seq) for seq, event in enumerate(left, 1)))
