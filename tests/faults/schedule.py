"""A random schedule: which runs, on how many pods, and what happens to them; one line of text, made from a seed or read again."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar, cast, get_args

from peerflow.testing import ERRORS, Fault, FaultKind, FaultPlan, Point
from tests.faults.scenarios import SCENARIOS

Item = TypeVar("Item")
Act = Literal["kill", "freeze", "cut", "jump", "cancel"]
_MOVE = re.compile(r"@(\d+) (\w+) (-?\d+)(?: ([\d.]+))?")
_HEAD = re.compile(r"(\d+) pods: ([a-z ]+)")
RUNS = (1, 1, 1, 2, 2, 3, 3, 5, 8, 20)
"""How many runs a schedule has; mostly few, so that faults meet each other."""
WIDE_SHARE = 0.02
"""Of the runs; a wide one costs as much as thirty others."""
MOVES_SHARE = 0.4
"""Of the faults; the others meet one call each."""
CALLS = {"claim": 6, "commit": 8, "create_run": 2, "heartbeat": 3, "reap": 3, "fire_timers": 4, "pass_on": 2, "graphs": 2, "cancel": 1,
         "begin_effect": 2, "confirm_effect": 2}  # fmt: skip
"""Call → up to which number it may be hit in a schedule of one run."""
FREQUENT = ("claim", "commit")
JUMPS = (-60, 15, 60, 3600)


@dataclass(frozen=True, slots=True)
class Move:
    """What happens as soon as the pods have made so many calls in all."""

    at_call: int
    act: Act
    number: int
    """Of the pod, of the run for `cancel`, counted from 1; seconds for `jump`."""
    ttls: float = 0.0
    """How long a freeze or a cut lasts."""

    def __str__(self) -> str:
        return f"@{self.at_call} {self.act} {self.number}" + (f" {self.ttls:g}" if self.ttls else "")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`str` gives what `parse` reads: `2 pods: sequence fan; p1 commit#3 crash-after; @12 freeze 2 1.5; @30 cancel 1`."""

    pods: int
    runs: tuple[str, ...]
    faults: tuple[str, ...]
    """Each as FaultPlan.parse reads it."""
    moves: tuple[Move, ...]

    @classmethod
    def random(cls, seed: int) -> Self:
        """2 or 3 pods, 1 to 20 runs, 2 to 6 faults. One seed gives one schedule."""
        source = random.Random(seed)
        pods = source.randint(2, 3)
        narrow = [name for name in SCENARIOS if name not in {"wide", "submit"}]
        runs = tuple(
            "wide" if source.random() < WIDE_SHARE else "submit" if source.random() < WIDE_SHARE else source.choice(narrow)
            for _ in range(source.choice(RUNS))
        )
        count = source.randint(2, 6)
        moves = sum(source.random() < MOVES_SHARE for _ in range(count))
        faults = (str(_fault(source, pods, len(runs))) for _ in range(count - moves))
        return cls(pods, runs, tuple(dict.fromkeys(faults)), tuple(_move(source, pods, len(runs)) for _ in range(moves)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything but the text of a schedule."""
        head, *parts = [part.strip() for part in text.split(";") if part.strip()]
        found = _HEAD.fullmatch(head)
        if found is None:
            raise ValueError(f"{head!r} is no beginning of a schedule; write '2 pods: sequence fan'")
        return cls(
            int(found[1]),
            tuple(found[2].split()),
            tuple(str(FaultPlan.parse(part)) for part in parts if not part.startswith("@")),
            tuple(_parsed(part) for part in parts if part.startswith("@")),
        )

    @property
    def plan(self) -> FaultPlan:
        return FaultPlan.parse("; ".join(self.faults))

    def smaller(self) -> Iterator[Schedule]:
        """Schedules without one of the faults, one of the moves, or one of the runs."""
        for at in range(len(self.faults)):
            yield replace(self, faults=_without(self.faults, at))
        for at in range(len(self.moves)):
            yield replace(self, moves=_without(self.moves, at))
        for at in range(len(self.runs) - 1, -1, -1):
            # Runs are named by their place: only one that no move means can go.
            if len(self.runs) > 1 and not any(move.act == "cancel" and move.number > at for move in self.moves):
                yield replace(self, runs=_without(self.runs, at))

    def __str__(self) -> str:
        return "; ".join([f"{self.pods} pods: {' '.join(self.runs)}", *self.faults, *map(str, self.moves)])


def _without(items: tuple[Item, ...], at: int) -> tuple[Item, ...]:
    return items[:at] + items[at + 1 :]


def _fault(source: random.Random, pods: int, runs: int) -> FaultPlan:
    call = source.choice(FREQUENT if source.random() < 0.5 else sorted(CALLS))
    pod = "*" if source.random() < 0.5 else f"p{source.randint(1, pods)}"
    number = source.randint(1, CALLS[call] * (1 + runs // 3))
    kind = source.choice(list(FaultKind))
    ttls = source.choice([0.5, 1.2, 2.0, 3.0]) if kind in {FaultKind.PAUSE_BEFORE, FaultKind.PAUSE_AFTER} else 2.0
    return FaultPlan({Point(pod, call, number): Fault(kind, source.choice(ERRORS), ttls)})


def _move(source: random.Random, pods: int, runs: int) -> Move:
    act = source.choice(get_args(Act))
    at_call = source.randint(1, 15 + 15 * runs)
    match act:
        case "cancel":
            return Move(at_call, act, source.randint(1, runs))
        case "jump":
            return Move(at_call, act, source.choice(JUMPS))
        case "kill":
            return Move(at_call, act, source.randint(1, pods))
        case _:
            return Move(at_call, act, source.randint(1, pods), source.choice([0.3, 0.8, 1.5, 3.0]))


def _parsed(text: str) -> Move:
    found = _MOVE.fullmatch(text)
    if found is None or found[2] not in get_args(Act):
        raise ValueError(f"{text!r} is no move; write '@40 kill 1', '@40 freeze 2 1.5', '@40 jump 3600' or '@40 cancel 3'")
    return Move(int(found[1]), cast(Act, found[2]), int(found[3]), float(found[4] or 0))
