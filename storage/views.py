"""What storage answers: frozen values, no Redis, no JSON text left to parse.

Instants are `_at_ms`: integer milliseconds since the epoch by Redis's clock, `None` where it has not happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from engine.definition import WorkflowDefinition
from engine.graph import Graph
from engine.states import RunState, TaskState

DEFAULT_TENANT = "default"
"""Whose runs those are that name no tenant; storage does not write it down."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A checked definition on its way into storage."""

    definition: WorkflowDefinition
    graph: Graph
    idempotency_key: str | None = None
    body_digest: str = ""
    """SHA-256 hex of the posted body; the same key with another digest is a conflict."""
    tenant: str = DEFAULT_TENANT
    """Whose the run is, for ever; idempotency keys are the tenant's, too."""
    caller: str | None = None
    """The name of whoever starts it; None where nobody was asked."""
    trace: str = ""
    """W3C trace context that the run's attempts go on with, as `traceparent`, a space and `tracestate`; empty without tracing."""


@dataclass(frozen=True, slots=True)
class Created:
    run_id: str
    state: RunState
    durability: str
    """What the server does with an acknowledged write: `memory`, `aof-everysec`, `aof-always`, `aof-no`, `snapshot`."""
    existing: bool = False
    """True where the idempotency key had a run already."""


@dataclass(frozen=True, slots=True)
class RunView:
    run_id: str
    name: str | None
    state: RunState
    created_at_ms: int
    started_at_ms: int | None
    finished_at_ms: int | None
    total: int
    counts: dict[TaskState, int]
    labels: dict[str, str] = field(default_factory=dict[str, str])
    priority: int = 0
    on_failure: Literal["continue", "stop"] = "continue"
    reason: str | None = None
    """Why it ended as it did, in words, for `failed` and `cancelled`; `why_nothing_runs` tells of one that is stuck."""
    tenant: str = DEFAULT_TENANT
    created_by: str | None = None
    """The name of the caller who started it, where one was asked for."""


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt that did not end the task: it failed and was tried again, or was lost."""

    attempt: int
    ended_as: Literal["failed", "lost"]
    started_at_ms: int | None
    ended_at_ms: int
    pod: str
    error: JsonValue | None


@dataclass(frozen=True, slots=True)
class TaskView:
    index: int
    id: str
    function: str
    queue: str
    priority: int
    state: TaskState
    attempts: int
    lost: int
    depends_on: tuple[str, ...]
    ready_at_ms: int | None = None
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    pod: str | None = None
    result: JsonValue | None = None
    error: JsonValue | None = None
    """`{"type", "message", "traceback"}` or None."""
    retry_at_ms: int | None = None
    reason: str | None = None
    """Why it waits, why it was skipped or cancelled, or that no living pod can run it."""
    fencing_token: int | None = None


@dataclass(frozen=True, slots=True)
class EffectView:
    """An effect that a task's code announced with `ctx.once()`."""

    name: str
    state: Literal["sent", "confirmed", "unknown"]
    """`sent`: the attempt that announced it is still the current one; `unknown`: it is not, and nobody knows whether it happened."""
    key: str
    """The same in all attempts."""
    attempt: int
    """That announced it last, or confirmed it."""


@dataclass(frozen=True, slots=True)
class EventView:
    seq: int
    """Dense from 1 within a run."""
    at_ms: int
    type: str
    task_id: str | None
    attempt: int | None
    pod: str | None
    detail: str | None
    caller: str | None = None
    """Who created or cancelled the run, where a caller was asked for."""


@dataclass(frozen=True, slots=True)
class RunPage:
    runs: list[RunView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class AccessView:
    """Somebody did something to a run, or tried."""

    at_ms: int
    caller: str
    tenant: str
    """The run's."""
    action: str
    """`submit`, `cancel`."""
    run_id: str
    outcome: str
    """`created`, `existing` (the idempotency key had a run), `conflict`; `cancelled`, `already succeeded`, …"""


@dataclass(frozen=True, slots=True)
class AccessPage:
    entries: list[AccessView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True)
class PodView:
    pod_id: str
    host: str
    version: str
    state: Literal["alive", "draining", "lost"]
    started_at_ms: int
    last_seen_at_ms: int
    concurrency: int
    running: int
    queues: tuple[str, ...]
    functions: tuple[str, ...]
    process_functions: frozenset[str] = frozenset()
    """Those that run in child processes, of which a pod has fewer than slots."""


@dataclass(frozen=True, slots=True)
class FunctionView:
    name: str
    kind: Literal["async", "thread", "process"]
    description: str
    parameters: dict[str, JsonValue]
    """JSON schema of the keyword arguments."""
    pods: int = 0
    """Living pods that have it registered."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    flavour: Literal["redis", "valkey"]
    version: str
    persistence: str
    maxmemory_policy: str
    latency_ms: float
    clock_offset_ms: float
    """The server's clock minus this machine's, half a round trip allowed for."""
