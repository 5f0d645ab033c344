"""S16: a timer fires once for each time that it was set, and never early.

Both are read off the events, whose instants are Redis's own. The shortest wait before a retry follows from the task's retry policy; a
sleep's length is known for the built-in function `sleep` with a number of seconds. That pods' clocks have no influence is proved by tests
that give pods wrong ones; that a timer is gone in the same step in which it fires, by tests/integration/storage/test_fire_timers.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.definition import WaitPolicy
from engine.graph import GraphTask
from engine.states import TaskState
from peerflow.testing.replay import TaskPlace, World
from peerflow.testing.violation import Violation
from storage.views import EventView


def on_event(world: World, event: EventView) -> Iterator[Violation]:
    """What is wrong with this event; `world` is as it was before."""
    if event.task_id is None:
        return
    place, graph = world.tasks[event.task_id], world.record.graph
    if event.type == "task_ready" and place.state is TaskState.READY:
        yield world.violation("S16", f"event {event.seq}: its retry fires a second time", event.task_id)
    elif place.state is TaskState.WAITING and place.last is not None:
        text = _too_early(graph.tasks[graph.index_of[event.task_id]], place, place.last, event)
        if text:
            yield world.violation("S16", f"event {event.seq} ({event.type}): {text}", event.task_id)


def _too_early(task: GraphTask, place: TaskPlace, armed: EventView, event: EventView) -> str | None:
    if event.type == "task_started" or (event.type == "task_ready" and armed.type == "task_sleep"):
        return "it leaves its wait before its timer has fired"
    shortest = shortest_wait_ms(task, armed, place.failures)
    waited = event.at_ms - armed.at_ms
    if event.type in {"task_ready", "task_succeeded"} and waited < shortest:
        return f"after {waited} ms; it was to wait {shortest} ms"
    return None


def shortest_wait_ms(task: GraphTask, armed: EventView, failures: int) -> int:
    """How long at least the wait lasts that `armed` began; 0 where the definition does not say."""
    if armed.type == "task_retry":
        return round(_before_jitter(task.retry.wait, failures) * 1000)
    seconds = task.args.get("seconds")
    return round(seconds * 1000) if task.function == "sleep" and isinstance(seconds, int | float) else 0


def _before_jitter(wait: WaitPolicy, failures: int) -> float:
    try:
        return min(wait.initial * wait.multiplier ** (failures - 1), wait.max)
    except OverflowError:
        return wait.max
