"""Claim: one pod runs at least 5,000 no-op async tasks a second in a wide fan-out.

1 → 1,000 → 1 and 1 → 10,000 → 1, posted over HTTP. Counted from the moment the request is sent, so that reading and compiling the
definition is part of it, to the run's `finished_at`; and from `created_at`, which leaves the request out. The reference runs as many
independent tasks with 64 calls under way, their creation left out.
"""

from __future__ import annotations

from benchmarks import shapes
from benchmarks.figures import Figure, Target
from benchmarks.lab import Lab

WIDTHS = (1_000, 10_000)
AIM = Target(5_000, "at least")


async def measure(lab: Lab) -> list[Figure]:
    figures: list[Figure] = []
    for width in WIDTHS:
        body, tasks = shapes.fan(width), width + 2
        whole: list[float] = []
        engine: list[float] = []
        reference: list[float] = []
        await lab.run(body)
        for _ in range(lab.repeat):
            reference.append(await lab.reference.tasks_per_second(tasks))
            sent_ms = lab.server_ms()
            run = await lab.run(body)
            assert run.finished_at_ms is not None
            whole.append(tasks * 1000 / (run.finished_at_ms - sent_ms))
            engine.append(tasks * 1000 / (run.finished_at_ms - run.created_at_ms))
        name = f"1 → {width:,} → 1"
        figures += [
            Figure(f"{name}, request sent to finished", "tasks/s", whole, reference, AIM),
            Figure(f"{name}, created to finished", "tasks/s", engine, reference, AIM),
        ]
    return figures
