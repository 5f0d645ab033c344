"""Many random schedules, one by one; what fails is shrunk and told with the line that replays it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.schedule import Schedule
from tests.faults.storm import Outcome, play

TRIES = 3
"""Threads of pods run as the machine lets them: a schedule that failed once is tried so often before a smaller one counts as good."""
MOST_FAILURES = 3
"""Shrinking takes its time; so much is enough to look at."""


@dataclass(slots=True)
class Failure:
    """A schedule that broke a promise."""

    seed: int
    schedule: Schedule
    outcome: Outcome

    def __str__(self) -> str:
        problems = "\n".join(f"  - {problem}" for problem in self.outcome.problems)
        return f"seed {self.seed}, shrunk; replay it with\n  replay({str(self.schedule)!r})\n{problems}\n{self.outcome.story}"


@dataclass(slots=True)
class Totals:
    """What many schedules came to; the numbers of a table."""

    schedules: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    """Kind → how often it happened."""
    seen: Counter[str] = field(default_factory=Counter[str])
    failures: list[Failure] = field(default_factory=list[Failure])
    seconds: float = 0.0

    @property
    def violations(self) -> int:
        return sum(len(failure.outcome.problems) for failure in self.failures)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        seen = ", ".join(f"{count} {what}" for what, count in sorted(self.seen.items()))
        return (
            f"{self.schedules} schedules, {self.runs} runs in {self.seconds:.1f} s "
            f"({self.schedules / max(self.seconds, 0.001):.1f} a second), {self.violations} violations\nfaults: {faults}\nseen: {seen}"
        )


def run_schedules(
    seeds: Iterable[int],
    url: str,
    *,
    within_seconds: float | None = None,
    most_failures: int = MOST_FAILURES,
    on_schedule: Callable[[int, Outcome], object] | None = None,
    **options: Any,
) -> Totals:
    """Plays the schedules of the seeds, on the server at `url`; no more of them once `within_seconds` are over.

    Violations are in the answer, each shrunk to the smallest schedule that still shows one. `options` are those of Cluster.
    """
    totals, started = Totals(), time.monotonic()
    for seed in seeds:
        schedule = Schedule.random(seed)
        outcome = play(schedule, url, **options)
        _add(totals, outcome)
        if on_schedule is not None:
            on_schedule(seed, outcome)
        if outcome.problems:
            totals.failures.append(Failure(seed, *shrunk(schedule, outcome, url, **options)))
        if len(totals.failures) >= most_failures or (within_seconds is not None and time.monotonic() - started > within_seconds):
            break
    totals.seconds = time.monotonic() - started
    return totals


def shrunk(schedule: Schedule, outcome: Outcome, url: str, **options: Any) -> tuple[Schedule, Outcome]:
    """Leaves out one fault, move or run after the other as long as something still goes wrong."""
    for smaller in schedule.smaller():
        for _ in range(TRIES):
            again = play(smaller, url, **options)
            if again.problems:
                return shrunk(smaller, again, url, **options)
    return schedule, outcome


def replay(text: str, url: str, **options: Any) -> Outcome:
    """Plays the schedule of a message again."""
    return play(Schedule.parse(text), url, **options)


def _add(totals: Totals, outcome: Outcome) -> None:
    totals.schedules += 1
    totals.runs += outcome.runs
    totals.faults += outcome.met
    totals.seen += outcome.seen
