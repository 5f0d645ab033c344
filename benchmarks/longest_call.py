"""Claim: no script holds Redis for longer than 10 ms while a run of 10,000 tasks is created, run and finished.

1 → 10,000 → 1, posted over HTTP: the longest script call in the server's slow log, for each repetition. It is wall time of the server's
thread, so what a busy machine takes away from it counts too; the target is held to the median of the repetitions, and the note names the
scripts. A repetition in which no call reached the slow log's threshold of 0.5 ms counts as 0.5 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks import shapes
from benchmarks.figures import Figure, Target
from benchmarks.lab import Lab
from benchmarks.probe import SLOW_MICROSECONDS
from benchmarks.table import number

WIDTH = 10_000


async def measure(lab: Lab) -> list[Figure]:
    body = shapes.fan(WIDTH)
    await lab.run(body)
    rounds: list[dict[str, float]] = []
    for _ in range(lab.repeat):
        async with lab.probe.slow_calls() as calls:
            await lab.run(body)
        rounds.append(calls)
    longest = [max(calls.values(), default=SLOW_MICROSECONDS / 1000) for calls in rounds]
    return [Figure("longest script call at 10,000 tasks", "ms", longest, target=Target(10.0, "at most"), note=_by_script(rounds))]


def _by_script(rounds: Sequence[Mapping[str, float]]) -> str:
    """The longest call of each script, slowest first."""
    names = {name for calls in rounds for name in calls}
    medians = {name: median(calls.get(name, 0.0) for calls in rounds) for name in names}
    ordered = sorted(medians, key=lambda name: -medians[name])
    return "by script, ms: " + (", ".join(f"{name} {number(medians[name])}" for name in ordered) or "none reached 0.5") + "."
