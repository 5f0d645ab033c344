"""S4: no task starts, becomes ready or is skipped before its predecessors decide so.

The only rule yet is `all_success`: ready when every predecessor has succeeded, skipped as soon as one failed or was skipped. An edge that
was counted twice shows as a task that is ready too early. That in-degrees are never below zero is seen inside only: tests of `commit` and
`pass_on`, and walks over all scripts, in tests/integration/storage.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.states import TaskState
from peerflow.testing.history import Entry
from peerflow.testing.records import RunRecord
from peerflow.testing.replay import World
from peerflow.testing.violation import Violation
from storage.views import EventView


def on_event(world: World, event: EventView) -> Iterator[Violation]:
    """What is wrong with this event; `world` is as it was before."""
    task_id = event.task_id
    if task_id is None or world.tasks[task_id].state is not TaskState.PENDING:
        return
    parents = world.parents(task_id)
    if event.type in {"task_ready", "task_started"}:
        open_parents = [f"{before} ({state})" for before, state in parents.items() if state is not TaskState.SUCCEEDED]
        if open_parents:
            yield world.violation("S4", f"event {event.seq} ({event.type}) before {', '.join(open_parents)} succeeded", task_id)
    elif event.type == "task_skipped" and not any(state in {TaskState.FAILED, TaskState.SKIPPED} for state in parents.values()):
        yield world.violation("S4", f"event {event.seq} skips it although no predecessor failed or was skipped", task_id)


def in_history(record: RunRecord, attempts: list[Entry]) -> Iterator[Violation]:
    """What task code saw, in the order in which it was written: code of a task runs after that of all its predecessors has run.

    Predecessors that keep no history are not asked for.
    """
    graph = record.graph
    noting = {entry.text("task_id") for entry in attempts}
    seen: set[str | None] = set()
    for entry in attempts:
        task_id = entry.text("task_id")
        if entry.phase == "attempt_started" and task_id in graph.index_of and task_id not in seen:
            before = [graph.tasks[index].id for index in graph.predecessors[graph.index_of[task_id]]]
            missing = [parent for parent in before if parent in noting - seen]
            if missing:
                yield Violation("S4", record.run.run_id, task_id, f"its code ran before that of {', '.join(missing)}")
            seen.add(task_id)
