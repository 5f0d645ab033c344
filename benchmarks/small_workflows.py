"""Claim: small workflows are not drowned by what each of them costs to create.

1,000 workflows of three no-op async tasks (a and b in parallel, then c), posted over HTTP by one client on 16 kept-alive connections
while the pod runs them. Three rates: of accepted requests (first request to last answer), of finished workflows (first request to last
`finished_at`), and of their tasks, which is what the reference's rate for 3,000 tasks is compared with.
"""

from __future__ import annotations

import time

from benchmarks import shapes
from benchmarks.figures import Figure
from benchmarks.lab import Lab

WORKFLOWS, TASKS = 1_000, 3


async def measure(lab: Lab) -> list[Figure]:
    body = shapes.small()
    await lab.finished(await lab.poster.submit_all([body] * WORKFLOWS))
    accepted: list[float] = []
    finished: list[float] = []
    reference: list[float] = []
    for _ in range(lab.repeat):
        reference.append(await lab.reference.tasks_per_second(WORKFLOWS * TASKS))
        sent_ms, sent = lab.server_ms(), time.perf_counter()
        run_ids = await lab.poster.submit_all([body] * WORKFLOWS)
        accepted.append(WORKFLOWS / (time.perf_counter() - sent))
        runs = await lab.finished(run_ids)
        finished.append(WORKFLOWS * 1000 / (max(run.finished_at_ms or 0 for run in runs) - sent_ms))
    return [
        Figure(f"{WORKFLOWS:,} small workflows, accepted", "workflows/s", accepted),
        Figure(f"{WORKFLOWS:,} small workflows, finished", "workflows/s", finished),
        Figure(f"{WORKFLOWS:,} small workflows, their tasks", "tasks/s", [rate * TASKS for rate in finished], reference),
    ]
