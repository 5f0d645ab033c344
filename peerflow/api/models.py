"""The shapes of the API's answers, for OpenAPI. Answers are written by `render.py`; a test holds each against its model here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from engine.states import RunState, TaskState

RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
Instant = Annotated[AwareDatetime, Field(examples=["2026-01-01T12:00:00.123Z"])]


class Shape(BaseModel):
    """Base of all answers: nothing but what is written here."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Accepted(Shape):
    """The run is stored. A repeat with the same `Idempotency-Key` gets the same run."""

    message: Literal["Workflow received"]
    run_id: Annotated[str, Field(examples=[RUN_ID])]
    status: RunState
    durability: Annotated[str, Field(examples=["aof-everysec"])]
    """What the server does with an acknowledged write: `memory`, `snapshot`, `aof-no`, `aof-everysec`, `aof-always`;
    `aof-unknown` where it does not tell how often it syncs."""


class Plan(Shape):
    """What a definition would become."""

    tasks: int
    edges: int
    order: list[str]
    """Task ids, each after everything it depends on."""
    critical_path: list[str]
    """A longest chain of dependencies."""


class RunSummary(Shape):
    """A run as lists show it."""

    run_id: Annotated[str, Field(examples=[RUN_ID])]
    name: str | None
    status: RunState
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    duration_seconds: float | None
    """From the first start of a task to the end; null until then."""
    labels: dict[str, str]
    priority: int
    on_failure: Literal["continue", "stop"]
    counts: dict[TaskState, int]
    """Tasks in each state; they add up to `total`."""
    total: int
    reason: str | None
    """Why it ended as it did; of one run that is asked for, why nothing of it runs although tasks are ready."""
    tenant: str
    """Whose it is; `default` where callers have no keys."""
    created_by: str | None
    """The caller who started it; null where callers have no keys."""


class Run(RunSummary):
    """One run."""

    input: dict[str, JsonValue] | None
    """Null where it is larger than about 64 KiB; `GET /runs/{run_id}/definition` has it."""


class RunDetail(Run):
    """One run and what was posted."""

    definition: dict[str, JsonValue] | None
    """Null for more than 500 tasks or about 64 KiB; `GET /runs/{run_id}/definition` has it."""


class TaskErrorShape(Shape):
    """Why an attempt failed."""

    type: str
    message: str
    traceback: str | None


class Task(Shape):
    """One task of a run."""

    id: str
    task: str
    """The task function."""
    queue: str
    priority: int
    status: TaskState
    attempts: int
    lost: int
    """Attempts that ended with their pod; they cost no retry."""
    depends_on: list[str]
    ready_at: Instant | None
    started_at: Instant | None
    finished_at: Instant | None
    duration_seconds: float | None
    """Of the last attempt; null until it has ended."""
    pod: str | None
    result: JsonValue
    error: TaskErrorShape | None
    retry_at: Instant | None
    """When a waiting task goes on."""
    reason: str | None
    """Why it waits, was skipped or cancelled, or that no living pod can run it."""


class Attempt(Shape):
    """An attempt that did not end its task."""

    attempt: int
    ended_as: Literal["failed", "lost"]
    started_at: Instant | None
    ended_at: Instant
    duration_seconds: float | None
    pod: str
    error: TaskErrorShape | None


class Effect(Shape):
    """An effect on the outside world that the task's code announced with `ctx.once()`."""

    name: str
    state: Literal["sent", "confirmed", "unknown"]
    """`sent` while the attempt that announced it goes on; `unknown` when it ended without a confirmation."""
    key: str
    """What the other side may know it by; the same in all attempts."""
    attempt: int
    """That announced it last, or confirmed it."""


class TaskDetail(Task):
    """One task, its earlier attempts, and the effects that its attempts announced."""

    attempts_log: list[Attempt]
    effects: list[Effect]


class WorkflowStatus(Run):
    """A run and its tasks in the definition's order."""

    tasks: list[Task]
    next_cursor: str | None
    """Null when all tasks are here: up to 10,000, and up to 16 MiB. Else give it as `cursor`, here or at `/runs/{run_id}/tasks`."""


class TaskPage(Shape):
    tasks: list[Task]
    next_cursor: str | None
    """Null after the last page. A page may be short although there are more."""


class RunPage(Shape):
    runs: list[RunSummary]
    next_cursor: str | None
    """Null after the last page. A page may be short although there are more."""


class Event(Shape):
    """One line of a run's history."""

    seq: int
    """Dense from 1."""
    at: Instant
    type: str
    task: str | None
    attempt: int | None
    pod: str | None
    detail: str | None
    caller: str | None
    """Who created or cancelled the run; null elsewhere, and where callers have no keys."""


class EventPage(Shape):
    events: list[Event]
    next_after: int | None
    """Give it as `after`; null where no more has happened yet."""


class AccessEntry(Shape):
    """Somebody did something to a run, or tried."""

    at: Instant
    caller: str
    tenant: str
    """The run's."""
    action: Literal["submit", "cancel"]
    run_id: Annotated[str, Field(examples=[RUN_ID])]
    outcome: str
    """`created`, `existing` (the idempotency key had that run), `conflict`; `cancelled`, `already succeeded`, …"""


class AccessPage(Shape):
    entries: list[AccessEntry]
    next_cursor: str | None
    """Null after the last page. A page may be short although there are more."""


class Cancelled(Shape):
    run_id: str
    status: RunState


class Function(Shape):
    """A registered task function."""

    name: str
    kind: Literal["async", "thread", "process"]
    description: str
    parameters: dict[str, Any]
    """JSON schema of its arguments."""
    pods: int
    """Living pods that have it."""


class FunctionList(Shape):
    tasks: list[Function]


class Pod(Shape):
    pod_id: str
    host: str
    started_at: Instant
    last_seen_at: Instant
    state: Literal["alive", "draining", "lost"]
    concurrency: int
    running: int
    queues: list[str]
    functions: list[str]
    version: str


class PodList(Shape):
    pods: list[Pod]
    limbo_repairs_total: int


class Health(Shape):
    status: Literal["ok"]


class Ready(Shape):
    ready: bool
    reason: str
    detail: dict[str, JsonValue]


class ProblemItem(Shape):
    """One thing that is wrong, where, and what to do about it."""

    code: Annotated[str, Field(examples=["unknown-function"])]
    pointer: Annotated[str, Field(examples=["/steps/0/tasks/1"])]
    """RFC 6901 pointer into the body, or `query/limit`, `header/Idempotency-Key`, `path/run_id`."""
    message: Annotated[str, Field(examples=['the function "task_z" is not known'])]
    remedy: Annotated[str, Field(examples=['did you mean "task_a"?'])]


class ProblemDocument(Shape):
    """RFC 9457 problem document; nothing was stored or changed."""

    type: Annotated[str, Field(examples=["urn:peerflow:problem:definition-invalid"])]
    title: Annotated[str, Field(examples=["The definition is refused"])]
    status: Annotated[int, Field(examples=[422])]
    detail: str
    errors: list[ProblemItem]
