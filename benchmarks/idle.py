"""Claim: an idle pod sends at most 2 commands a second to Redis, those that its scripts call included.

`total_commands_processed` over 60 s in which nothing is posted, the probe's own command left out; 60 s is a multiple of every interval of
an idle pod. On a server that others use too, their commands count as well. The reference is a blocking read, which sends nothing.
"""

from __future__ import annotations

import asyncio

from benchmarks.figures import Figure, Target
from benchmarks.lab import Lab

SETTLE_SECONDS = 3.0
SECONDS = 60.0
FROM_CLIENTS = ("evalsha", "blpop")
"""All that an idle pod sends itself."""


async def measure(lab: Lab) -> list[Figure]:
    await asyncio.sleep(SETTLE_SECONDS)
    before = await lab.probe.counters()
    await asyncio.sleep(SECONDS)
    after = await lab.probe.counters()
    calls = sum(after.calls.get(name, 0) - before.calls.get(name, 0) for name in FROM_CLIENTS)
    rate = (after.commands - before.commands - 1) / SECONDS
    note = f"{calls / SECONDS:.2f} calls/s from the pod; the rest is what its scripts call."
    return [Figure("an idle pod", "commands/s", [rate], target=Target(2.0, "at most"), note=note)]
