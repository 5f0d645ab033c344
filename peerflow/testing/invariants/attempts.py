"""S6: what is charged to a task, and what is not.

Attempts are numbered 1, 2, 3 …; a claim that was released, or that its pod never heard of, charges nothing and its number is given out
again. Failures are bounded by the task's `max_attempts`, lost attempts by `max_lost`.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.graph import GraphTask
from peerflow.testing.replay import TaskPlace, World
from peerflow.testing.violation import Violation
from storage.views import EventView


def on_event(world: World, event: EventView, max_lost: int) -> Iterator[Violation]:
    """What is wrong with this event; `world` is as it was before."""
    if event.task_id is not None:
        graph = world.record.graph
        text = _wrong(graph.tasks[graph.index_of[event.task_id]], world.tasks[event.task_id], event, max_lost)
        if text:
            yield world.violation("S6", f"event {event.seq}: {text}", event.task_id)


def _wrong(task: GraphTask, place: TaskPlace, event: EventView, max_lost: int) -> str | None:
    match event.type:
        case "task_started" if event.attempt != place.attempts + 1:
            return f"attempt {event.attempt} starts after {place.attempts} that were charged"
        case "task_retry" if place.failures + 1 >= task.retry.max_attempts:
            return f"failure {place.failures + 1} is to be tried again; max_attempts is {task.retry.max_attempts}"
        case "task_failed" if place.given_back and place.lost <= max_lost:
            return f"it fails after {place.lost} lost attempts; max_lost is {max_lost}"
        case "task_ready" if place.given_back and place.lost > max_lost:
            return f"it is ready again after {place.lost} lost attempts; max_lost is {max_lost}"
        case _:
            return None


def at_end(world: World) -> Iterator[Violation]:
    """The tasks' own numbers and logs are those that the events lead to."""
    for task in world.record.tasks:
        place = world.tasks[task.id]
        if (task.attempts, task.lost) != (place.attempts, place.lost):
            text = f"it says {task.attempts} attempts, {task.lost} lost; its events say {place.attempts}, {place.lost}"
            yield world.violation("S6", text, task.id)
        if task.id in world.record.attempts:
            log = {entry.attempt: entry.ended_as for entry in world.record.attempts[task.id]}
            if log != world.logs[task.id]:
                yield world.violation("S6", f"its log says {log}; its events say {world.logs[task.id]}", task.id)
