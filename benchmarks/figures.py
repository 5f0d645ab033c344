"""What a measurement found, and what was aimed at."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure, or on its ratio to the reference."""

    bound: float
    kind: Literal["at most", "at least"]
    of: Literal["figure", "ratio"] = "figure"

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.kind == "at most" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value for each repetition, and the reference's value next to it, in the same unit."""

    name: str
    unit: str
    reached: list[float]
    reference: list[float] = field(default_factory=list[float])
    target: Target | None = None
    note: str = ""
    """What the figure alone does not say; printed under the table."""

    @property
    def median(self) -> float:
        return median(self.reached)

    @property
    def ratio(self) -> float | None:
        """The median, over repetitions, of figure to reference in the same repetition; None without a reference."""
        if not self.reference:
            return None
        return median(own / other for own, other in zip(self.reached, self.reference, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the median, or the ratio, keeps the target; None without one."""
        if self.target is None:
            return None
        value = self.median if self.target.of == "figure" else self.ratio
        return value is not None and self.target.met_by(value)

    def to_json(self) -> dict[str, object]:
        """All of it, for `--json`."""
        return {
            "name": self.name,
            "unit": self.unit,
            "reached": self.reached,
            "reference": self.reference,
            "median": self.median,
            "ratio": self.ratio,
            "target": None if self.target is None else {"bound": self.target.bound, "kind": self.target.kind, "of": self.target.of},
            "met": self.met,
            "note": self.note,
        }
