"""Which pods can run a ready task, and why none of them does at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.reasons import Reason
from storage.views import PodView

PODS_NAMED = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a ready task is not running."""

    reason: Reason
    text: str
    pods: tuple[PodView, ...] = ()
    """Up to PODS_NAMED: those that can run it; without any, those that could and are leaving, or lost."""


def find_reason(function: str, queue: str, pods: Sequence[PodView]) -> Finding:
    """What pods say of a task function and a queue, from all that are known."""
    living = [pod for pod in pods if pod.state == "alive"]
    registered = [pod for pod in living if function in pod.functions]
    capable = [pod for pod in registered if queue in pod.queues]
    if not capable:
        gone = [pod for pod in pods if pod.state != "alive" and function in pod.functions and queue in pod.queues]
        return Finding(Reason.NO_CAPABLE_POD, _no_pod(function, queue, living, registered, gone), tuple(gone[:PODS_NAMED]))
    full = [pod for pod in capable if pod.running >= pod.concurrency]
    if len(full) == len(capable):
        loads = ", ".join(f"{pod.pod_id} {pod.running}/{pod.concurrency}" for pod in full[:PODS_NAMED])
        more = f" and {len(full) - PODS_NAMED} more" if len(full) > PODS_NAMED else ""
        return Finding(Reason.POD_CAPACITY, f"all slots are taken: {loads}{more}", tuple(full[:PODS_NAMED]))
    roomy = [pod for pod in capable if pod.running < pod.concurrency]
    if all(function in pod.process_functions for pod in roomy):
        # How many of a pod's child processes are busy is not known; one that is free takes a task at once.
        return Finding(Reason.POD_CAPACITY, f"waits for a child process of {_names(roomy)}", tuple(roomy[:PODS_NAMED]))
    return Finding(Reason.QUEUED, "waits for its turn: a pod with room takes it", tuple(capable[:PODS_NAMED]))


def _names(pods: Sequence[PodView]) -> str:
    more = f" and {len(pods) - PODS_NAMED} more" if len(pods) > PODS_NAMED else ""
    return ", ".join(pod.pod_id for pod in pods[:PODS_NAMED]) + more


def _no_pod(function: str, queue: str, living: Sequence[PodView], registered: Sequence[PodView], gone: Sequence[PodView]) -> str:
    if registered:
        where = registered[0].pod_id
        text = f"no pod that registers {function} serves queue {queue}; {where} has it and serves {', '.join(registered[0].queues)}"
    else:
        text = f"no pod registers {function}"
        if not any(queue in pod.queues for pod in living):
            text += f", and none serves queue {queue}" if queue != "default" and living else ""
    return text + (f"; {gone[-1].pod_id} could, and is {gone[-1].state}" if gone else "")
