"""What the checker reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    invariant: str
    """`S2`, `L1`, …: see peerflow.testing.invariants."""
    run_id: str | None
    task_id: str | None
    text: str
    """What was seen, in words."""

    def __str__(self) -> str:
        where = "".join(f" {kind} {name}" for kind, name in (("run", self.run_id), ("task", self.task_id)) if name)
        return f"{self.invariant}{where}: {self.text}"
