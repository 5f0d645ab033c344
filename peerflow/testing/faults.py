"""Which call of which pod meets which fault: a plan that can be printed, read again, and made from a seed.

A point is written `p1 commit#3` – the third `commit` that pod p1 sends – and `*` stands for any pod or any call: `* commit#3` is the third
of the whole cluster, `p2 *#10` the tenth call of whatever kind of p2. Calls are named as the scripts are; `graphs` reads definitions, and
`inbox` waits for messages (it is not counted under `*`: how often it is called depends on the machine).
A plan is points with their faults: `p1 commit#3 crash-after; * claim#1 error LOADING`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ANY = "*"
ERRORS = (
    "LOADING", "READONLY", "BUSY", "OOM", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED", "MASTERDOWN", "NOPERM", "NOAUTH",
)  # fmt: skip
"""Error replies of a server that did not apply the call."""
_FAULT = re.compile(r"(\S+) (\S+)#(\d+) (\S+)(?: (\S+))?")


class FaultKind(StrEnum):
    """What happens at a call."""

    CRASH_BEFORE = "crash-before"
    """The pod is killed; the server never gets the call."""
    CRASH_AFTER = "crash-after"
    """The call is applied; the pod is killed before it hears of it."""
    LOST = "lost"
    """Not applied; the pod sees a lost connection."""
    UNKNOWN = "unknown"
    """Applied; the pod sees a lost connection."""
    PAUSE_BEFORE = "pause-before"
    """The pod stands still, heartbeat included, for longer than its leases last; then it sends the call."""
    PAUSE_AFTER = "pause-after"
    """The call is applied; the pod stands still before it hears of it."""
    ERROR = "error"
    """Not applied; the server answers with an error."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a call meets."""

    kind: FaultKind
    code: str = "LOADING"
    """The error reply's first word, for ERROR."""
    ttls: float = 2.0
    """How long a pause lasts, in lease TTLs."""

    def __str__(self) -> str:
        if self.kind is FaultKind.ERROR:
            return f"{self.kind} {self.code}"
        return f"{self.kind} {self.ttls:g}" if self.kind in PAUSES and self.ttls != 2.0 else self.kind


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """The `number`-th call of its name, counted from 1, by one pod or by all."""

    pod: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.pod} {self.call}#{self.number}"


PAUSES = (FaultKind.PAUSE_BEFORE, FaultKind.PAUSE_AFTER)
CRASHES = (FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER)


class FaultPlan:
    """Points and their faults. It never changes; who counts calls asks it for each."""

    def __init__(self, faults: Mapping[Point, Fault] | None = None) -> None:
        self.faults: dict[Point, Fault] = dict(faults or {})

    @classmethod
    def one(cls, point: Point, kind: FaultKind, code: str = "LOADING") -> FaultPlan:
        return cls({point: Fault(kind, code)})

    @classmethod
    def parse(cls, text: str) -> FaultPlan:
        """Reads what `str(plan)` gave. Raises ValueError for anything else."""
        faults: dict[Point, Fault] = {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            found = _FAULT.fullmatch(part)
            if found is None:
                raise ValueError(f"{part!r} is no fault; write it as 'p1 commit#3 crash-after', or '* claim#1 error LOADING'")
            pod, call, number, kind, more = found.groups()
            faults[Point(pod, call, int(number))] = _fault(FaultKind(kind), more)
        return cls(faults)

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        pods: Sequence[str],
        calls: Mapping[str, int],
        faults: int = 2,
        kinds: Sequence[FaultKind] = tuple(FaultKind),
    ) -> FaultPlan:
        """Up to `faults` faults; `calls` says for each call's name up to which number it may be hit. One seed gives one plan."""
        source = random.Random(seed)
        planned: dict[Point, Fault] = {}
        for _ in range(faults):
            call = source.choice(sorted(calls))
            point = Point(source.choice(list(pods)), call, source.randint(1, calls[call]))
            planned[point] = Fault(source.choice(list(kinds)), source.choice(ERRORS))
        return cls(planned)

    def at(self, points: Sequence[Point]) -> Fault | None:
        """The fault of a call, which is known by several points: the first of them that the plan has."""
        if not self.faults:
            return None
        return next((self.faults[point] for point in points if point in self.faults), None)

    def __str__(self) -> str:
        return "; ".join(f"{point} {fault}" for point, fault in self.faults.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultPlan) and self.faults == other.faults

    __hash__ = None  # type: ignore[assignment]


def _fault(kind: FaultKind, more: str | None) -> Fault:
    if more is None:
        return Fault(kind)
    return Fault(kind, code=more) if kind is FaultKind.ERROR else Fault(kind, ttls=float(more))
