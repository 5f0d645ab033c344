"""The invariants of the small model. Each function answers what is violated, in one line, or an empty text."""

from __future__ import annotations

from tests.support.protocol import FAULTS, MAX_LOST, World
from tests.support.run_model import ENDED, RunModel

PLACES = {"ready": (1, 0, 0), "running": (0, 1, 0), "waiting": (0, 0, 1)}
"""State of a task of a live run → how often it is in the ready queue, in a pod's list, among the timers."""


def of_world(world: World) -> str:
    """What must hold at every moment: S1, S4 to S7, S12."""
    return _pods(world) or _tasks(world) or _run(world.run)


def of_step(before: World, after: World) -> str:
    """What no step may do: S3, and S9 for a run that has ended."""
    old, new = before.run, after.run
    if old.state != "running":
        if new.state != old.state:
            return f"S3: the run was {old.state} and is {new.state}"
        if not new.queue <= old.queue:
            return "S9: a task of a run that has ended became ready"
    for index, (was, task) in enumerate(zip(old.tasks, new.tasks, strict=True)):
        if was.state in ENDED and task != was:
            return f"S3: task {index} was {was.state} and is {task.state}"
        if old.state != "running" and task.state not in {was.state, "cancelled"}:
            return f"S9: the run has {old.state}, and task {index}, which was {was.state}, is {task.state}"
    return ""


def _pods(world: World) -> str:
    store = world.store
    current = {task.claim for task in world.run.tasks if task.claim}
    if not store.leases <= current:
        return f"S7: leases {sorted(store.leases - current)} belong to no current claim"
    listed = [ref.claim for refs in store.lists.values() for ref in refs]
    if len(listed) != len(set(listed)):
        return f"S1: a claim belongs to two pods: {sorted(listed)}"
    if set(listed) != current:
        return f"S7: pods' lists have {sorted(listed)}, current are {sorted(current)}"
    unseen = [pod for pod, refs in store.lists.items() if refs and pod not in store.pods]
    return f"S7: no reaper sees what {unseen[0]} holds" if unseen else ""


def _tasks(world: World) -> str:
    run = world.run
    lists = [ref.task for refs in world.store.lists.values() for ref in refs]
    graph, judged = run.graph, FAULTS["lapse"] + FAULTS["crash"] - world.left["lapse"] - world.left["crash"]
    for index, task in enumerate(run.tasks):
        before = graph.predecessors[index]
        if task.state not in {"pending", "skipped", "cancelled"} and any(run.tasks[other].state != "succeeded" for other in before):
            return f"S4: task {index} is {task.state} before what it depends on has succeeded"
        wrong = _edges(run, index)
        if wrong:
            return wrong
        places = (index in run.queue, lists.count(index), index in run.timers)
        if run.state == "running" and places != PLACES.get(task.state, (0, 0, 0)):
            return f"S5: task {index} is {task.state}, in queue, lists, timers {(*map(int, places),)} times"
        if task.lost > min(judged, MAX_LOST + (task.state == "failed")):
            return f"S6: task {index} was lost {task.lost} times"
        counted = (
            world.retried[index]
            + task.lost
            + (task.state in {"running", "succeeded"} or (task.state == "failed" and task.lost <= MAX_LOST))
        )
        if task.state != "cancelled" and task.attempt != counted:
            return f"S6: task {index} is at attempt {task.attempt}, and {counted} were charged"
    return ""


def _edges(run: RunModel, index: int) -> str:
    """In-degree by identity: each predecessor is heard of once, after its end; those that are not are still to be told."""
    heard = [other for other, _ in run.heard[index]]
    for other in run.graph.predecessors[index]:
        ended = run.tasks[other].state in ENDED
        place = run.graph.successors[other].index(index)
        if heard.count(other) > ended:
            return f"S4: task {index} has heard {heard.count(other)} times of task {other}, which is {run.tasks[other].state}"
        due = any(task == other and start <= place for task, start in run.slices)
        if run.state == "running" and ended and (other in heard) == due:
            return f"S5: the edge {other} -> {index} is " + ("told and still due" if due else "lost")
    return ""


def _run(run: RunModel) -> str:
    states = [task.state for task in run.tasks]
    done = all(state in ENDED for state in states)
    if run.state == "running" and done:
        return "S12: all tasks have ended, and the run has not"
    if run.state in {"succeeded", "failed"} and (not done or run.state != ("failed" if "failed" in states else "succeeded")):
        return f"S12: the run has {run.state}, its tasks are {states}"
    return ""
