"""Records and events as the scripts write them, and as readers see them.

A record is "state attempt lost token ready started ended pod claim", then a line feed and a payload if there is one; times are ms since
the run's creation. A pending task has no record. A run that has ended cancels what had not: such tasks keep their last record, and
readers see `cancelled`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, cast

from pydantic import JsonValue

from engine.errors import StorageCorrupt
from engine.graph import Graph
from engine.ids import effect_key
from engine.states import RunState, TaskState
from storage.views import DEFAULT_TENANT, AttemptView, EffectView, EventView, RunView, TaskView

RunRow = Mapping[str, str]
"""The hash of a run as stored."""


def run_view(run_id: str, row: RunRow) -> RunView:
    """The run as readers see it; counts cover every task, so they add up to `total`."""
    state, total = RunState(row["state"]), int(row["total"])
    counts = {task_state: int(row.get(task_state, 0)) for task_state in TaskState}
    ended = counts[TaskState.SUCCEEDED] + counts[TaskState.FAILED] + counts[TaskState.SKIPPED]
    if state.terminal:
        counts |= {TaskState.READY: 0, TaskState.RUNNING: 0, TaskState.WAITING: 0, TaskState.PENDING: 0, TaskState.CANCELLED: total - ended}
    else:
        active = counts[TaskState.READY] + counts[TaskState.RUNNING] + counts[TaskState.WAITING]
        counts |= {TaskState.PENDING: total - ended - active, TaskState.CANCELLED: 0}
    return RunView(
        run_id=run_id,
        name=row.get("name"),
        state=state,
        created_at_ms=int(row["created"]),
        started_at_ms=_int(row.get("started")),
        finished_at_ms=_int(row.get("finished")),
        total=total,
        counts=counts,
        labels=json.loads(row["labels"]) if "labels" in row else {},
        priority=int(row.get("priority", 0)),
        on_failure=cast("Literal['continue', 'stop']", row.get("on_failure", "continue")),
        reason=row.get("reason") or None,
        tenant=row.get("tenant", DEFAULT_TENANT),
        created_by=row.get("caller"),
    )


def task_view(graph: Graph, index: int, record: str | None, run: RunView) -> TaskView:
    """One task as readers see it, from its record (None where it has none yet)."""
    task = graph.tasks[index]
    depends_on = tuple(graph.tasks[before].id for before in graph.predecessors[index])
    if record is None:
        state = TaskState.CANCELLED if run.state.terminal else TaskState.PENDING
        return TaskView(index, task.id, task.function, task.queue, task.priority, state, 0, 0, depends_on, reason=_cancelled(run, state))
    head, _, payload = record.partition("\n")
    words = head.split(" ")
    if len(words) != 9:
        raise StorageCorrupt(f"record of task {task.id!r} of run {run.run_id}: {head!r}")
    stored = TaskState(words[0])
    state = TaskState.CANCELLED if run.state.terminal and not stored.terminal else stored
    ready, started, ended = (_at(word, run.created_at_ms) for word in words[4:7])
    waiting = state is TaskState.WAITING
    return TaskView(
        index=index,
        id=task.id,
        function=task.function,
        queue=task.queue,
        priority=task.priority,
        state=state,
        attempts=int(words[1]),
        lost=int(words[2]),
        depends_on=depends_on,
        ready_at_ms=ready,
        started_at_ms=started,
        finished_at_ms=ended if state.terminal and stored.terminal else None,
        pod=None if words[7] == "-" else words[7],
        result=json.loads(payload) if state is TaskState.SUCCEEDED else None,
        error=json.loads(payload) if payload and (state is TaskState.FAILED or (waiting and words[8] == "backoff")) else None,
        retry_at_ms=ended if waiting else None,
        reason=_reason(graph, state, words[8], payload, run),
        fencing_token=int(words[3]) or None,
    )


def _reason(graph: Graph, state: TaskState, word: str, payload: str, run: RunView) -> str | None:
    if state is TaskState.WAITING:
        return {"backoff": "waits for its next attempt", "sleep": "sleeps"}.get(word, word)
    if state is TaskState.SKIPPED and payload.startswith("upstream "):
        return f"{graph.tasks[int(payload.removeprefix('upstream '))].id} did not succeed"
    return _cancelled(run, state)


def _cancelled(run: RunView, state: TaskState) -> str | None:
    return f"the run {run.state}: {run.reason}" if state is TaskState.CANCELLED and run.reason else None


def event_view(graph: Graph, seq: int, line: str, created_at_ms: int) -> EventView:
    """One event from its line: "ms type", then for a task's event "index attempt pod", then text; of a run's, behind a tab, the caller.

    `task_repaired` and `run_repaired` change no state by themselves: what follows from them has events of its own.
    """
    offset, kind, *rest = line.split(" ", 2)
    at_ms, text = created_at_ms + int(offset), rest[0] if rest else ""
    if kind.startswith("run_"):
        said, _, caller = text.partition("\t")
        return EventView(seq, at_ms, kind, None, None, None, said or None, caller or None)
    index, attempt, pod, *detail = text.split(" ", 3)
    return EventView(
        seq,
        at_ms,
        kind if kind.startswith("effect_") else f"task_{kind}",
        graph.tasks[int(index)].id,
        None if attempt == "-" else int(attempt),
        None if pod == "-" else pod,
        detail[0] if detail else None,
    )


def attempt_view(attempt: int, value: str, created_at_ms: int) -> AttemptView:
    """An entry of the log of attempts that did not end their task."""
    head, _, error = value.partition("\n")
    ended_as, started, ended, pod, *_ = head.split(" ")
    return AttemptView(
        attempt,
        cast("Literal['failed', 'lost']", ended_as),
        _at(started, created_at_ms),
        created_at_ms + int(ended),
        pod,
        cast("JsonValue", json.loads(error)) if error else None,
    )


def effect_view(run: RunView, task_id: str, name: str, note: str, record: str | None) -> EffectView:
    """An effect from its note, "state attempt claim op times" and a result; `record` is its task's, of the same moment or a later one."""
    state, attempt, claim, _ = note.split(" ", 3)
    current = record.partition("\n")[0].split(" ")[8] if record else "-"
    if state == "sent" and (run.state.terminal or claim != current):
        state = "unknown"
    return EffectView(name, cast("Literal['sent', 'confirmed', 'unknown']", state), effect_key(run.run_id, task_id, name), int(attempt))


def _at(word: str, created_at_ms: int) -> int | None:
    return None if word == "-" else created_at_ms + int(word)


def _int(text: str | None) -> int | None:
    return int(text) if text else None
