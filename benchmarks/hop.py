"""Claim: a hop along a chain costs at most twice the reference's round trip.

A chain of 200 no-op async tasks, posted over HTTP; from the first claim to the last commit by the run's own timestamps, divided by 200.
The reference passes 200 tasks on in the same way, one script call each. One pod with nothing else to do; one chain at a time. A chain
takes less than a tenth of a second, so there are four for each repetition asked for.
"""

from __future__ import annotations

from benchmarks import shapes
from benchmarks.figures import Figure, Target
from benchmarks.lab import Lab, seconds

TASKS = 200
CHAINS = 4


async def measure(lab: Lab) -> list[Figure]:
    body = shapes.chain(TASKS)
    await lab.run(body)
    await lab.reference.milliseconds_per_hop(TASKS)
    reached: list[float] = []
    reference: list[float] = []
    for _ in range(CHAINS * lab.repeat):
        reference.append(await lab.reference.milliseconds_per_hop(TASKS))
        reached.append(seconds(await lab.run(body)) * 1000 / TASKS)
    return [Figure(f"hop of a chain of {TASKS}", "ms", reached, reference, Target(2.0, "at most", "ratio"))]
