"""What the HTTP API answers, typed: frozen models that the client returns.

Fields that a newer pod adds are kept (`extra="allow"`), so that an older client prints them and does not break. Instants are
`datetime` with a time zone, by Redis's clock; durations are float seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from engine.states import RunState, TaskState


class Answer(BaseModel):
    """Base of all answers: immutable, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Submitted(Answer):
    """A run that Redis holds; `durability` says what the server does with such a write."""

    run_id: str
    status: RunState
    message: str = ""
    durability: str = "unknown"


class Plan(Answer):
    """What a definition would become; nothing is stored."""

    tasks: int
    edges: int
    order: list[str]
    critical_path: list[str]


class Run(Answer):
    """A run without its tasks; `counts` has the number of tasks in each state and sums up to `total`."""

    run_id: str
    name: str | None = None
    status: RunState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    priority: int = 0
    on_failure: Literal["continue", "stop"] = "continue"
    counts: dict[TaskState, int] = Field(default_factory=dict[TaskState, int])
    total: int = 0
    reason: str | None = None
    tenant: str = "default"
    created_by: str | None = None

    @property
    def finished(self) -> bool:
        """True once nothing can change the run's state any more."""
        return self.status.terminal

    @property
    def succeeded(self) -> bool:
        return self.status is RunState.SUCCEEDED

    @property
    def done(self) -> int:
        """Tasks in a terminal state."""
        return sum(count for state, count in self.counts.items() if state.terminal)


class TaskError(Answer):
    type: str
    message: str = ""
    traceback: str | None = None


class Task(Answer):
    """A task of a run: where it stands, and its result or error once it has one."""

    id: str
    task: str
    status: TaskState
    queue: str = "default"
    priority: int = 0
    attempts: int = 0
    lost: int = 0
    depends_on: list[str] = Field(default_factory=list[str])
    ready_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    pod: str | None = None
    result: JsonValue = None
    error: TaskError | None = None
    retry_at: datetime | None = None
    reason: str | None = None


class RunStatus(Run):
    """A run with its tasks in the order of the definition."""

    tasks: list[Task] = Field(default_factory=list[Task])


class TaskPage(Answer):
    tasks: list[Task]
    next_cursor: str | None = None


class RunPage(Answer):
    runs: list[Run]
    next_cursor: str | None = None


class Event(Answer):
    """One line of a run's history; `seq` is dense from 1."""

    seq: int
    at: datetime
    type: str
    task: str | None = None
    attempt: int | None = None
    pod: str | None = None
    detail: str | None = None
    caller: str | None = None


class AccessEntry(Answer):
    """Somebody did something to a run, or tried."""

    at: datetime
    caller: str
    tenant: str
    action: str
    run_id: str
    outcome: str


class AccessPage(Answer):
    entries: list[AccessEntry]
    next_cursor: str | None = None


class EventPage(Answer):
    events: list[Event]
    next_after: int | None = None


class LogLine(Answer):
    """What an attempt has printed, or a record of `logging`; `id` is its place in the run's log."""

    id: str
    at: datetime
    task: str
    attempt: int
    pod: str = ""
    stream: str
    level: str | None = None
    logger: str | None = None
    text: str


class LogPage(Answer):
    """Lines by time; `last` is where the page ends, `next_after` the same where there is more already."""

    run_id: str
    lines: list[LogLine]
    dropped: int = 0
    next_after: str | None = None
    last: str


class PodLoad(Answer):
    """A pod that can run a task, or that could."""

    pod_id: str
    state: str = "alive"
    running: int = 0
    concurrency: int = 0
    last_seen_at: datetime | None = None


class ReasonNow(Answer):
    """Why a task does not run at this moment, or that it runs or has ended; `code` may be one that this client does not know."""

    code: str
    text: str
    since: datetime
    until: datetime | None = None
    parents: list[str] = Field(default_factory=list[str])
    open_parents: int = 0
    pods: list[PodLoad] = Field(default_factory=list[PodLoad])
    pod: str | None = None
    attempt: int | None = None


class Link(Answer):
    """A task on the way from one that waits for parents to the one that holds it up."""

    id: str
    status: TaskState
    code: str
    text: str


class Interval(Answer):
    """A stretch of a task's life with one reason; `to` is None while it lasts."""

    code: str
    from_: datetime = Field(alias="from")
    to: datetime | None = None
    seconds: float
    attempt: int | None = None
    pod: str | None = None


class TaskExplanation(Answer):
    """Why a task does not run, what that leads back to, and what it has waited for."""

    id: str
    task: str
    queue: str = "default"
    status: TaskState
    now: ReasonNow
    chain: list[Link] = Field(default_factory=list[Link])
    chain_length: int = 0
    summary: str = ""
    waited_seconds: dict[str, float] = Field(default_factory=dict[str, float])
    intervals: list[Interval] = Field(default_factory=list[Interval])
    intervals_left_out: int = 0


class Explanation(Answer):
    """A page of a run's tasks, explained."""

    run_id: str
    status: RunState
    at: datetime
    tasks: list[TaskExplanation]
    next_after: int | None = None


class Function(Answer):
    """A task function and the number of living pods that have it registered."""

    name: str
    kind: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    pods: int = 0


class FunctionList(Answer):
    tasks: list[Function]


class Pod(Answer):
    pod_id: str
    host: str
    state: str
    version: str = ""
    started_at: datetime | None = None
    last_seen_at: datetime | None = None
    concurrency: int = 0
    running: int = 0
    queues: list[str] = Field(default_factory=list[str])
    functions: list[str] = Field(default_factory=list[str])


class PodList(Answer):
    pods: list[Pod]
    limbo_repairs_total: int = 0


class Readiness(Answer):
    """Whether the pod's claim loop turns and Redis answers; `reason` says why not."""

    ready: bool
    reason: str | None = None
