"""One try of a task, as this pod received it with its claim."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue


@dataclass(slots=True)
class Attempt:
    """What the claim said about the task, and how far its code has come.

    Everything but the last two fields is fixed from the claim on. `progress_seen` and `progress` are written by `ctx.heartbeat()` from
    whatever thread the task's code runs in, and read by the loop: single assignments, so no lock is needed.
    """

    run_id: str
    index: int
    """Place in the run's graph."""
    task_id: str
    function: str
    args: Mapping[str, JsonValue]
    attempt: int
    """Counted from 1."""
    lost: int
    """Attempts of this task that infrastructure ended."""
    fencing_token: int
    """Grows with each attempt of the task; for the task's own side effects."""
    claim_id: str
    timeout_seconds: float | None = None
    heartbeat_timeout_seconds: float | None = None
    ready_at_ms: int = 0
    trace: str = ""
    """The run's trace context; empty where it has none."""
    progress_seen: float = field(default_factory=time.monotonic)
    """When the code last showed that it moves, monotonic seconds; at first, when the attempt was received."""
    progress: JsonValue = None
    """What it said then."""

    def beat(self, progress: JsonValue = None) -> None:
        """Records that the attempt's code moves."""
        self.progress = progress
        self.progress_seen = time.monotonic()

    def excuse(self) -> None:
        """Counts the time up to now as spent by peerflow, and not by the attempt's code."""
        self.progress_seen = time.monotonic()
