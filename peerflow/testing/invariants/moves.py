"""Where a task may go from where it is: S1, S2, S3, S5, S9.

One look at one event finds one fault, by the first of these questions that applies: had the task ended (S3)? Had the run ended (S9, or S12
where it ended by itself)? Does a claim end that is not the current one (S2)? Does a second claim begin (S1)? Is the task in two places, or
in none (S5)?
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.states import TaskState
from peerflow.testing.replay import EFFECTS, ENDS_OF_CLAIMS, GIVEN_BACK, TaskPlace, World
from peerflow.testing.violation import Violation
from storage.views import EventView

STOPPED_ATTEMPTS = GIVEN_BACK | {"task_cancelled"}
"""All that may still be said of an attempt when its run has ended."""


def on_event(world: World, event: EventView) -> Iterator[Violation]:
    """What is wrong with this event; `world` is as it was before."""
    for left in world.given_back:
        if left != event.task_id:
            yield world.violation("S5", f"it is nowhere between {world.tasks[left].last_type} and {_name(event)} of something else", left)
    if event.task_id is not None:
        yield from _of_task(world, event, event.task_id, world.tasks[event.task_id])


def at_end(world: World) -> Iterator[Violation]:
    """What is wrong after the last event."""
    for left in world.given_back:
        yield world.violation("S5", f"it is nowhere after {world.tasks[left].last_type}", left)


def _of_task(world: World, event: EventView, task_id: str, task: TaskPlace) -> Iterator[Violation]:
    kind = event.type
    if task.state.terminal:
        yield world.violation("S3", f"{_name(event)} although it has ended: it was {task.state}", task_id)
    elif world.ended and kind not in STOPPED_ATTEMPTS:
        invariant = "S12" if world.ended == "finished" else "S9"
        yield world.violation(invariant, f"{_name(event)} although the run was {world.ended}", task_id)
    elif kind == "task_repaired":
        return
    elif kind in ENDS_OF_CLAIMS or kind in EFFECTS:
        if not _ends_current_claim(task, event):
            yield world.violation("S2", f"{_name(event)} by attempt {event.attempt} of pod {event.pod}; {_told(task)}", task_id)
        elif kind == "task_cancelled" and not world.ended:
            yield world.violation("S9", "a result was refused although nothing had ended the run", task_id)
    elif kind == "task_started" and task.state is TaskState.RUNNING and not task.given_back:
        yield world.violation("S1", f"pod {event.pod} claims it although {_told(task)}", task_id)
    elif _two_places(world, kind, task_id, task):
        yield world.violation("S5", f"{_name(event)} although {_told(task)}", task_id)


def _ends_current_claim(task: TaskPlace, event: EventView) -> bool:
    if task.given_back:
        return event.type == "task_failed" and task.last_type == "task_lost"
    if (event.attempt, event.pod) != (task.attempts, task.pod):
        return False
    # The end of a sleep ends the attempt that went to sleep.
    slept = task.last_type == "task_sleep" and event.type == "task_succeeded"
    return task.state is TaskState.RUNNING or slept


def _two_places(world: World, kind: str, task_id: str, task: TaskPlace) -> bool:
    if kind == "task_skipped":
        return task.state is not TaskState.PENDING
    if kind == "task_started":
        # Out of no queue. Before its parents have ended that is S4; out of a wait, S16.
        claimable = all(state is TaskState.SUCCEEDED for state in world.parents(task_id).values())
        return task.given_back or (task.state is TaskState.PENDING and claimable)
    if task.state is TaskState.READY:
        # After a timer: the timer fired twice, which is S16.
        return task.came_from is not TaskState.WAITING
    return task.state is TaskState.RUNNING and not task.given_back


def _name(event: EventView) -> str:
    return f"event {event.seq} ({event.type})"


def _told(task: TaskPlace) -> str:
    if task.given_back:
        return "its claim was given back"
    if task.state is TaskState.RUNNING:
        return f"attempt {task.attempts} of pod {task.pod} runs"
    return f"it is {task.state}"
