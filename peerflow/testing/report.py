"""What a sweep found, as numbers and as a story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from peerflow.testing.records import RunRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """One disturbed run that did not end as the undisturbed one."""

    plan: str
    """The faults, as `FaultPlan.parse` and `crash_sweep(only=…)` read them."""
    problems: tuple[str, ...]
    story: str
    """The run's events and the pods' calls."""

    def __str__(self) -> str:
        problems = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"{self.plan}\n{problems}\n{self.story}"


@dataclass(slots=True)
class SweepReport:
    """What was tried, and what came of it."""

    tried: int = 0
    """Disturbed runs, those included whose fault found no call."""
    points: Counter[str] = field(default_factory=Counter[str])
    """Call → how many calls of this name changed something in the undisturbed run."""
    faults: Counter[str] = field(default_factory=Counter[str])
    """Kind → how many calls met it."""
    unreached: list[str] = field(default_factory=list[str])
    """Plans whose call was not made in their run: with several pods, how many calls a run takes differs a little."""
    findings: list[Finding] = field(default_factory=list[Finding])
    seen: Counter[str] = field(default_factory=Counter[str])
    """What happened how often on the way: `zombie refused`, `orphan taken over`, `commit repeated`, …"""
    seconds: float = 0.0

    @property
    def violations(self) -> list[str]:
        """Every problem of every finding."""
        return [f"{finding.plan}: {problem}" for finding in self.findings for problem in finding.problems]

    def __str__(self) -> str:
        points = ", ".join(f"{count} {call}" for call, count in sorted(self.points.items()))
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        seen = ", ".join(f"{count} {what}" for what, count in sorted(self.seen.items()))
        rate = f"{self.tried / self.seconds:.1f} a second" if self.seconds else "-"
        return (
            f"{self.tried} disturbed runs in {self.seconds:.1f} s ({rate}), {len(self.violations)} violations, "
            f"{len(self.unreached)} not reached\ncalls: {points}\nfaults: {faults}\nseen: {seen}"
        )


def told(record: RunRecord | None) -> Sequence[str]:
    """A run's events, one a line."""
    if record is None:
        return ["(the run could not be read)"]
    start = record.run.created_at_ms
    return [
        f"{event.at_ms - start:9d} ms  {event.type:<16} {event.task_id or ''} {event.attempt or ''} {event.pod or ''} {event.detail or ''}"
        for event in record.events
    ]
