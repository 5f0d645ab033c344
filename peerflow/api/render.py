"""Storage's views as the JSON objects of the API. Instants become RFC 3339 in UTC with milliseconds, durations float seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from pydantic import JsonValue

from storage.graphs import RunGraph
from storage.views import AccessView, AttemptView, EffectView, EventView, FunctionView, PodView, RunView, TaskView

INLINE_CHARS: Final = 65_536
"""Input and definition are part of a run's answer up to about this size; a run is asked for again and again while it is watched."""
INLINE_TASKS: Final = 500

Json = dict[str, Any]


def instant(at_ms: int | None) -> str | None:
    """`2026-01-01T12:00:00.123Z`."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}Z"


def duration(started_at_ms: int | None, finished_at_ms: int | None) -> float | None:
    """Seconds between two instants; None until both have come."""
    return None if started_at_ms is None or finished_at_ms is None else (finished_at_ms - started_at_ms) / 1000


def run_summary(run: RunView) -> Json:
    """A run as lists show it."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": run.state.value,
        "created_at": instant(run.created_at_ms),
        "started_at": instant(run.started_at_ms),
        "finished_at": instant(run.finished_at_ms),
        "duration_seconds": duration(run.started_at_ms, run.finished_at_ms),
        "labels": run.labels,
        "priority": run.priority,
        "on_failure": run.on_failure,
        "counts": {state.value: count for state, count in run.counts.items()},
        "total": run.total,
        "reason": run.reason,
        "tenant": run.tenant,
        "created_by": run.created_by,
    }


def run_object(run: RunView, graph: RunGraph) -> Json:
    """A run with its input, unless that is large: then it is None, as `GET /runs/{run_id}/definition` has it whole."""
    given = graph.definition.input
    return {**run_summary(run), "input": given if small(given) else None}


def small_definition(graph: RunGraph) -> Json | None:
    """The definition as it was posted, without what is at its default; None for a large one."""
    definition = graph.definition
    if len(graph.graph.tasks) > INLINE_TASKS or not small(definition.input) or not small([task.args for task in graph.graph.tasks]):
        return None
    return definition.model_dump(mode="json", exclude_defaults=True)


def small(value: JsonValue | list[dict[str, JsonValue]]) -> bool:
    """True up to INLINE_CHARS characters of JSON, roughly; looks at no more than that much of the value."""
    left = INLINE_CHARS
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        left -= len(item) + 4 if isinstance(item, str) else 6
        if left < 0 or (isinstance(item, list | dict) and len(cast("list[Any]", item)) > left):
            return False
        if isinstance(item, dict):
            entries = cast(Json, item)
            waiting.extend(entries)
            waiting.extend(entries.values())
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
    return True


def task_object(task: TaskView) -> Json:
    return {
        "id": task.id,
        "task": task.function,
        "queue": task.queue,
        "priority": task.priority,
        "status": task.state.value,
        "attempts": task.attempts,
        "lost": task.lost,
        "depends_on": task.depends_on,
        "ready_at": instant(task.ready_at_ms),
        "started_at": instant(task.started_at_ms),
        "finished_at": instant(task.finished_at_ms),
        "duration_seconds": duration(task.started_at_ms, task.finished_at_ms),
        "pod": task.pod,
        "result": task.result,
        "error": task.error,
        "retry_at": instant(task.retry_at_ms),
        "reason": task.reason,
    }


def attempt_object(attempt: AttemptView) -> Json:
    return {
        "attempt": attempt.attempt,
        "ended_as": attempt.ended_as,
        "started_at": instant(attempt.started_at_ms),
        "ended_at": instant(attempt.ended_at_ms),
        "duration_seconds": duration(attempt.started_at_ms, attempt.ended_at_ms),
        "pod": attempt.pod,
        "error": attempt.error,
    }


def effect_object(effect: EffectView) -> Json:
    return {"name": effect.name, "state": effect.state, "key": effect.key, "attempt": effect.attempt}


def event_object(event: EventView) -> Json:
    return {
        "seq": event.seq,
        "at": instant(event.at_ms),
        "type": event.type,
        "task": event.task_id,
        "attempt": event.attempt,
        "pod": event.pod,
        "detail": event.detail,
        "caller": event.caller,
    }


def access_object(entry: AccessView) -> Json:
    return {
        "at": instant(entry.at_ms),
        "caller": entry.caller,
        "tenant": entry.tenant,
        "action": entry.action,
        "run_id": entry.run_id,
        "outcome": entry.outcome,
    }


def function_object(function: FunctionView) -> Json:
    return {
        "name": function.name,
        "kind": function.kind,
        "description": function.description,
        "parameters": function.parameters,
        "pods": function.pods,
    }


def pod_object(pod: PodView) -> Json:
    return {
        "pod_id": pod.pod_id,
        "host": pod.host,
        "started_at": instant(pod.started_at_ms),
        "last_seen_at": instant(pod.last_seen_at_ms),
        "state": pod.state,
        "concurrency": pod.concurrency,
        "running": pod.running,
        "queues": pod.queues,
        "functions": pod.functions,
        "version": pod.version,
    }
