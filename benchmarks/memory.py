"""Claim: a finished task takes at most 400 bytes of Redis beyond its result.

A run of 1 → 10,000 → 1 that has finished: `MEMORY USAGE` with every element counted (`SAMPLES 0`) of all keys of the run, its definition
and its events included and its results left out, by the number of tasks; and the growth of `used_memory` over the run, which also has the
run's place in the list of runs and among the timers, and what the allocator adds. The reference is a hash with state and result alone.
"""

from __future__ import annotations

import asyncio

from benchmarks import shapes
from benchmarks.figures import Figure, Target
from benchmarks.lab import Lab

WIDTH = 10_000
RESULT_BYTES = len(b"true")
AIM = Target(400, "at most")
QUIET_SECONDS = 1.0
"""Lets the server free what the last requests needed."""


async def measure(lab: Lab) -> list[Figure]:
    body, tasks = shapes.fan(WIDTH), WIDTH + 2
    await lab.run(body)
    keys: list[float] = []
    grown: list[float] = []
    reference: list[float] = []
    for _ in range(min(3, lab.repeat)):
        reference.append(await lab.reference.bytes_per_finished_task(tasks, RESULT_BYTES))
        await asyncio.sleep(QUIET_SECONDS)
        before = await lab.probe.used_memory()
        run = await lab.run(body)
        await asyncio.sleep(QUIET_SECONDS)
        after = await lab.probe.used_memory()
        total, results = await lab.probe.run_bytes(run.run_id)
        keys.append((total - results) / tasks)
        grown.append((after - before - results) / tasks)
    return [
        Figure("a finished task, keys of its run", "bytes", keys, reference, AIM),
        Figure("a finished task, growth of used_memory", "bytes", grown, reference, AIM),
    ]
