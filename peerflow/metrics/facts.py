"""What a pod knows at the moment of a scrape, beside what it has counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.connection import Connections
from storage.ready_queue import QueueDepths


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the pod itself knows; the wiring makes it."""

    ready: bool
    storage_answers: bool
    """False where the pod knows that Redis does not; then it is not asked."""
    slots: int = 0
    slots_in_use: int = 0
    processes: int = 0
    processes_in_use: int = 0
    claims_held: int = 0
    heartbeat_age_seconds: float | None = None
    """None before the first heartbeat was answered."""
    connections: dict[str, Connections] = field(default_factory=dict[str, Connections])
    log_lines_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a scrape tells."""

    pod: PodFacts
    depths: QueueDepths | None
    """None where Redis does not say."""
