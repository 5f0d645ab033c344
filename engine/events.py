"""What happens in a pod, as typed values: code publishes them, subscribers own wording, levels and metric names.

The class name is the event's name. Durations are seconds. Fields that many events share have one name each: `run_id`, `task_id`,
`attempt`, `claim_id`, `pod_id`, `duration_seconds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything that is worth a log line or a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStarted(Event):
    pod_id: str
    address: str
    """Of Redis, without password."""
    concurrency: int
    queues: tuple[str, ...]
    functions: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDraining(Event):
    """The pod claims nothing more, and waits up to `grace_seconds` for what runs."""

    pod_id: str
    running: int
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStopped(Event):
    pod_id: str
    released: int
    """Claims given back because they did not end within the grace period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCreated(Event):
    run_id: str
    name: str | None
    tasks: int
    edges: int
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled(Event):
    """A user cancelled the run; what runs is asked to stop."""

    run_id: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClaimed(Event):
    run_id: str
    task_id: str
    function: str
    attempt: int
    claim_id: str
    pod_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """The attempt ended here; whether it counts, its commit decides."""

    run_id: str
    task_id: str
    function: str
    attempt: int
    claim_id: str
    pod_id: str
    outcome: str
    """`succeeded`, `failed` or `sleeping`."""
    error_type: str | None
    error_message: str | None
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """The attempt failed and the task is tried again after `delay_seconds`."""

    run_id: str
    task_id: str
    function: str
    attempt: int
    delay_seconds: float


RUN_HAD_ENDED = "its run had ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRefused(Event):
    """The fence held: the claim was not the task's current one, so its result was dropped."""

    run_id: str
    task_id: str
    attempt: int
    claim_id: str
    pod_id: str
    current: str
    """Why it was not: RUN_HAD_ENDED, or that another claim, or none, is the task's current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """A heartbeat found that the claim is not this pod's any more; the attempt is stopped here."""

    run_id: str
    task_id: str
    attempt: int
    claim_id: str
    pod_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksReaped(Event):
    """Leases of pods that are gone ran out: their tasks are ready again, or have failed after too many lost attempts."""

    pod_id: str
    requeued: int
    failed: int
    takeover_seconds: float
    """From the silent pods' last sign of life to now, of the task that had to wait longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimboRepaired(Event):
    """A run could not have gone on, because something that storage held of it was lost; now it can."""

    pod_id: str
    run_id: str
    repairs: int
    what: tuple[str, ...]
    """The first of them: a task's index and what it had lost, or what the run had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReleased(Event):
    """Claims given back at once, and not charged."""

    pod_id: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLost(Event):
    """Redis stopped answering this pod; what runs goes on."""

    pod_id: str
    address: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageBack(Event):
    pod_id: str
    address: str
    duration_seconds: float
    """How long it had been away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatLate(Event):
    """A heartbeat took so long that leases were near their end: Redis, the network or this machine is too slow."""

    pod_id: str
    duration_seconds: float
    lease_ttl_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFailed(Event):
    """A round of a background loop raised what it should not have; the loop goes on."""

    pod_id: str
    loop: str
    error: str
    traceback: str


class Publisher(Protocol):
    """Takes events from any thread; must neither block nor raise."""

    def publish(self, event: Event, /) -> None: ...


class Publishers:
    """Hands each event to several subscribers, in order."""

    def __init__(self, *subscribers: Publisher) -> None:
        self._subscribers = subscribers

    def publish(self, event: Event, /) -> None:
        for subscriber in self._subscribers:
            subscriber.publish(event)
