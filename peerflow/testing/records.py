"""What the public reading API says of a run: the run, its tasks, its events, all of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, cast

from pydantic import JsonValue

from engine.compile import compile_definition
from engine.definition import parse_definition
from engine.graph import Graph
from engine.limits import NO_LIMITS
from engine.states import RunState, TaskState
from storage.store import Store
from storage.views import AttemptView, EventView, RunView, TaskView

PAGE = 1_000
TRIES = 20
"""How often a run that moves while it is read is read again."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as readers see it."""

    run: RunView
    tasks: tuple[TaskView, ...]
    """All, in the definition's order."""
    events: tuple[EventView, ...]
    """All, in order; the state that they lead to is the state of `run` and `tasks`."""
    graph: Graph
    attempts: Mapping[str, tuple[AttemptView, ...]] = field(default_factory=dict[str, tuple[AttemptView, ...]])
    """Task id → its log of attempts that did not end it; a task whose log was not read is missing."""


class Get(Protocol):
    """GET of a path of a pod, with query parameters; answers the parsed JSON."""

    def __call__(self, path: str, /, **params: str) -> Any: ...


async def read_run(store: Store, run_id: str) -> RunRecord:
    """The whole run. Raises RunNotFound, and TimeoutError for a run that moves each time it is read.

    Every change of a run adds an event in the same atomic step: if none was added while tasks were read, all is of one moment.
    """
    graph = (await store.get_graph(run_id)).graph
    events = await _events(store, run_id, [])
    for _ in range(TRIES):
        run, tasks = await store.get_run_and_tasks(run_id, start=0, count=len(graph.tasks))
        attempts = {task.id: tuple(await store.get_attempts(run_id, task.id)) for task in tasks if was_tried_again(task)}
        known, events = len(events), await _events(store, run_id, events)
        if len(events) == known:
            return RunRecord(run, tuple(tasks), tuple(events), graph, attempts)
    raise TimeoutError(f"run {run_id} moved each of the {TRIES} times that it was read")


async def _events(store: Store, run_id: str, known: list[EventView]) -> list[EventView]:
    events = list(known)
    while page := await store.get_events(run_id, after=len(events), limit=PAGE):
        events += page
    return events


def read_run_over_http(get: Get, run_id: str) -> RunRecord:
    """As `read_run`, through a pod's API. Raises what `get` raises."""
    definition = get(f"/runs/{run_id}/definition")
    events = _events_over_http(get, run_id, [])
    for _ in range(TRIES):
        status = dict(get(f"/workflow_status/{run_id}"))
        while (cursor := status["next_cursor"]) is not None:
            page = get(f"/runs/{run_id}/tasks", cursor=cursor, limit=str(PAGE))
            status["tasks"], status["next_cursor"] = [*status["tasks"], *page["tasks"]], page["next_cursor"]
        logs = {
            task["id"]: get(f"/runs/{run_id}/tasks/{task['id']}")["attempts_log"]
            for task in status["tasks"]
            if task["attempts"] > 1 or task["lost"] or task["status"] == TaskState.WAITING
        }
        known, events = len(events), _events_over_http(get, run_id, events)
        if len(events) == known:
            return from_http(status, events, definition, logs)
    raise TimeoutError(f"run {run_id} moved each of the {TRIES} times that it was read")


def _events_over_http(get: Get, run_id: str, known: list[Any]) -> list[Any]:
    events = list(known)
    while page := get(f"/runs/{run_id}/events", after=str(len(events)), limit=str(PAGE))["events"]:
        events += page
    return events


def was_tried_again(task: TaskView) -> bool:
    """True where the log of attempts may have an entry."""
    return task.attempts > 1 or task.lost > 0 or task.state is TaskState.WAITING


def from_http(
    status: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    definition: JsonValue,
    attempts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> RunRecord:
    """The record in a pod's answers: `/workflow_status/{run_id}` with all tasks, all events, `/runs/{run_id}/definition`, and each
    `attempts_log` by task id. The API does not tell fencing tokens."""
    graph = compile_definition(parse_definition(definition, NO_LIMITS))
    run = RunView(
        run_id=status["run_id"],
        name=status["name"],
        state=RunState(status["status"]),
        created_at_ms=cast(int, _ms(status["created_at"])),
        started_at_ms=_ms(status["started_at"]),
        finished_at_ms=_ms(status["finished_at"]),
        total=status["total"],
        counts={TaskState(state): count for state, count in status["counts"].items()},
        labels=status["labels"],
        priority=status["priority"],
        on_failure=status["on_failure"],
        reason=status["reason"],
    )
    return RunRecord(
        run,
        tuple(_task(graph, task) for task in status["tasks"]),
        tuple(_event(event) for event in events),
        graph,
        {task_id: tuple(map(_logged, log)) for task_id, log in (attempts or {}).items()},
    )


def _task(graph: Graph, task: Mapping[str, Any]) -> TaskView:
    return TaskView(
        index=graph.index_of[task["id"]],
        id=task["id"],
        function=task["task"],
        queue=task["queue"],
        priority=task["priority"],
        state=TaskState(task["status"]),
        attempts=task["attempts"],
        lost=task["lost"],
        depends_on=tuple(task["depends_on"]),
        ready_at_ms=_ms(task["ready_at"]),
        started_at_ms=_ms(task["started_at"]),
        finished_at_ms=_ms(task["finished_at"]),
        pod=task["pod"],
        result=task["result"],
        error=task["error"],
        retry_at_ms=_ms(task["retry_at"]),
        reason=task["reason"],
    )


def _event(event: Mapping[str, Any]) -> EventView:
    at_ms = cast(int, _ms(event["at"]))
    return EventView(event["seq"], at_ms, event["type"], event["task"], event["attempt"], event["pod"], event["detail"])


def _logged(entry: Mapping[str, Any]) -> AttemptView:
    ended_at_ms = cast(int, _ms(entry["ended_at"]))
    return AttemptView(entry["attempt"], entry["ended_as"], _ms(entry["started_at"]), ended_at_ms, entry["pod"], entry["error"])


def _ms(instant: str | None) -> int | None:
    return None if instant is None else round(datetime.fromisoformat(instant).timestamp() * 1000)
