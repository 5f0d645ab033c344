"""The shapes of `explain`'s answer, for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from engine.reasons import Reason
from engine.states import RunState, TaskState
from peerflow.api.models import RUN_ID, Instant, Shape


class PodLoad(Shape):
    """A pod that can run the task, or that could."""

    pod_id: str
    state: Literal["alive", "draining", "lost"]
    running: int
    concurrency: int
    last_seen_at: Instant


class ReasonNow(Shape):
    """Why the task does not run at this moment, or that it runs or has ended."""

    code: Reason
    text: Annotated[str, Field(examples=["no pod registers transcode"])]
    since: Instant
    until: Instant | None
    """When a backoff or a sleep is over."""
    parents: list[str]
    """Tasks that it depends on and that have not ended, up to 10."""
    open_parents: int
    """How many there are."""
    pods: list[PodLoad]
    """Up to 10 that can run a ready task; without any, those that could and are leaving, or lost."""
    pod: str | None
    """Where it runs."""
    attempt: int | None


class Link(Shape):
    """A task on the way to the root cause."""

    id: str
    status: TaskState
    code: Reason
    text: str


class Interval(Shape):
    """A stretch of the task's life with one reason."""

    code: Reason
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant | None
    """Null while it lasts."""
    seconds: float
    """Its length, up to now while it lasts."""
    attempt: int | None
    pod: str | None


class TaskExplanation(Shape):
    """Why a task does not run, what that leads back to, and what it has waited for."""

    id: str
    task: str
    """The task function."""
    queue: str
    status: TaskState
    now: ReasonNow
    chain: list[Link]
    """From an open parent to the root cause; of a long way its first and last tasks. Empty for a task that does not wait for parents."""
    chain_length: int
    """Tasks of the whole way."""
    summary: Annotated[str, Field(examples=["waited 312 s: 290 s for a pod that registers transcode, 22 s for parents"])]
    waited_seconds: dict[Reason, float]
    """Sums over all intervals, the longest first."""
    intervals: list[Interval]
    """In order, without gaps, from the run's creation to the task's end; the last 50."""
    intervals_left_out: int
    """Earlier intervals that are not listed."""


class Explanation(Shape):
    """A page of a run's tasks, explained."""

    run_id: Annotated[str, Field(examples=[RUN_ID])]
    status: RunState
    at: Instant
    """By Redis's clock; `now` speaks of this moment."""
    tasks: list[TaskExplanation]
    next_after: int | None
    """Give it as `after`; null after the last page. A page may be short although there are more."""


EXPLAIN_EXAMPLE: Final[dict[str, Any]] = {
    "run_id": RUN_ID,
    "status": "running",
    "at": "2026-01-01T12:05:12.000Z",
    "tasks": [
        {
            "id": "encode",
            "task": "transcode",
            "queue": "default",
            "status": "ready",
            "now": {
                "code": "no_capable_pod",
                "text": "no pod registers transcode",
                "since": "2026-01-01T12:00:22.000Z",
                "until": None,
                "parents": [],
                "open_parents": 0,
                "pods": [],
                "pod": None,
                "attempt": None,
            },
            "chain": [],
            "chain_length": 0,
            "summary": "waited 312 s: 290 s for a pod that registers transcode, 22 s for parents",
            "waited_seconds": {"no_capable_pod": 290.0, "parents": 22.0},
            "intervals": [
                {
                    "code": "parents",
                    "from": "2026-01-01T12:00:00.000Z",
                    "to": "2026-01-01T12:00:22.000Z",
                    "seconds": 22.0,
                    "attempt": None,
                    "pod": None,
                },
                {
                    "code": "no_capable_pod",
                    "from": "2026-01-01T12:00:22.000Z",
                    "to": None,
                    "seconds": 290.0,
                    "attempt": None,
                    "pod": None,
                },
            ],
            "intervals_left_out": 0,
        }
    ],
    "next_after": None,
}
