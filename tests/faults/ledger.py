"""What the sweeps and schedules of one session came to, added up: for the `sometimes` list and for the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from peerflow.testing import SweepReport
from tests.faults.schedules import Totals

SOMETIMES = ("zombie refused", "lease revived", "claim repeated", "cancel beat commit", "slice resumed by another pod")
"""What must have happened: a suite in which it never does proves nothing of it."""


@dataclass(slots=True)
class Ledger:
    """Of one session."""

    seen: Counter[str] = field(default_factory=Counter[str])
    sweeps: dict[str, SweepReport] = field(default_factory=dict[str, SweepReport])
    schedules: Totals | None = None

    def add_sweep(self, name: str, report: SweepReport) -> None:
        self.sweeps[name] = report
        self.seen += report.seen

    def add_schedules(self, totals: Totals) -> None:
        self.schedules = totals
        self.seen += totals.seen

    def missing(self) -> list[str]:
        return [what for what in SOMETIMES if not self.seen[what]]

    def lines(self) -> list[str]:
        """The summary."""
        told: list[str] = []
        if self.sweeps:
            points = sum(report.tried for report in self.sweeps.values())
            seconds = sum(report.seconds for report in self.sweeps.values())
            violations = sum(len(report.violations) for report in self.sweeps.values())
            unreached = sum(len(report.unreached) for report in self.sweeps.values())
            told.append(
                f"{len(self.sweeps)} sweeps: {points} disturbed runs in {seconds:.0f} s, {violations} violations, {unreached} not reached"
            )
        if self.schedules is not None:
            told += str(self.schedules).splitlines()
        return [*told, "sometimes: " + ", ".join(f"{self.seen[what]} {what}" for what in SOMETIMES)] if told else []


LEDGER = Ledger()
