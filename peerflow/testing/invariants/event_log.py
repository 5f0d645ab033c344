"""S13: events are numbered densely, none is there twice, and the state that readers see is the one that they lead to.

A reader of the live stream that notes the numbers which it saw (`ok(number, run_id=…, seqs=[…])`, with `gap=True` where it was told of one)
is held to the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from engine.states import TaskState
from peerflow.testing.history import Operation
from peerflow.testing.records import RunRecord
from peerflow.testing.replay import RUN_ENDS, RUN_EVENTS, TASK_EVENTS, World
from peerflow.testing.violation import Violation

BY_ATTEMPT = TASK_EVENTS - {"task_ready", "task_skipped", "task_repaired"}
"""Events that say which attempt of which pod they are about."""


def in_log(record: RunRecord) -> Iterator[Violation]:
    """What is wrong with the log itself; a log that has a fault here cannot be told."""
    run_id, graph = record.run.run_id, record.graph
    numbers = [event.seq for event in record.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield Violation("S13", run_id, None, f"events are not numbered 1, 2, 3 …: {_breaks(numbers)}")
    created = [event.seq for event in record.events if event.type == "run_created"]
    if created != [1]:
        yield Violation("S13", run_id, None, f"the run was created by events {created}, and should be by the first alone")
    for event in record.events:
        if event.type not in RUN_EVENTS | TASK_EVENTS:
            yield Violation("S13", run_id, event.task_id, f"event {event.seq} is of a type that nobody knows: {event.type}")
        elif (event.type in TASK_EVENTS) != (event.task_id in graph.index_of):
            yield Violation("S13", run_id, event.task_id, f"event {event.seq} ({event.type}) is about a task that the run has not")
        elif event.type in BY_ATTEMPT and (event.attempt is None or event.pod is None):
            yield Violation("S13", run_id, event.task_id, f"event {event.seq} ({event.type}) names no attempt or no pod")


def at_end(world: World) -> Iterator[Violation]:
    """Tasks are where their events lead to; the run's end is when its event says so."""
    run = world.record.run
    for task in world.record.tasks:
        state = world.tasks[task.id].state
        if run.state.terminal and not state.terminal:
            # A run that has ended cancels what had not.
            state = TaskState.CANCELLED
        if task.state is not state:
            yield world.violation("S13", f"it says {task.state}, its events say {state}", task.id)
    ends = [event.at_ms for event in world.record.events if event.type in RUN_ENDS]
    if (run.finished_at_ms is not None) != bool(ends) or run.finished_at_ms not in {None, *ends}:
        yield world.violation("S13", f"it ended at {run.finished_at_ms}, its events say {ends}")


def in_streams(operations: list[Operation]) -> Iterator[Violation]:
    """What readers of live streams saw."""
    for operation in operations:
        seqs = operation.answered.get("seqs")
        if isinstance(seqs, list) and not operation.answered.get("gap"):
            numbers = cast("list[int]", seqs)
            if any(after != before + 1 for before, after in pairwise(numbers)):
                yield Violation("S13", operation.run_id, None, f"a reader saw events out of order, twice or not at all: {_breaks(numbers)}")


def _breaks(numbers: list[int]) -> str:
    found = [f"{after} after {before}" for before, after in pairwise([0, *numbers]) if after != before + 1]
    return ", ".join(found[:5])
