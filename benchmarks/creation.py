"""Claim: creating a run of 10,000 tasks is a matter of reading it, not of storing it.

1 → 10,000 → 1: from sending the request to the last byte of `202`; and the same definition, compiled before, through `Store.create_run` in
the measuring process, into a namespace that no pod serves. The reference stores 10,000 ready tasks with one script call each, 64 under way.
"""

from __future__ import annotations

import time

from benchmarks import shapes
from benchmarks.figures import Figure
from benchmarks.lab import RETENTION_SECONDS, Lab
from benchmarks.probe import Probe
from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from storage.store import Store
from storage.views import NewRun

WIDTH = 10_000


async def measure(lab: Lab) -> list[Figure]:
    body, tasks = shapes.fan(WIDTH), WIDTH + 2
    await lab.run(body)
    posted: list[float] = []
    stored: list[float] = []
    reference: list[float] = []
    for _ in range(lab.repeat):
        reference.append(await lab.reference.milliseconds_to_create(tasks))
        started = time.perf_counter()
        run_id = await lab.poster.submit(body)
        posted.append((time.perf_counter() - started) * 1000)
        await lab.finished([run_id])
        stored.append(await _store(lab, body))
    return [
        Figure("creating 10,000 tasks, POST to 202", "ms", posted, reference),
        Figure("creating 10,000 tasks, storage alone", "ms", stored, reference),
    ]


async def _store(lab: Lab, body: bytes) -> float:
    definition = WorkflowDefinition.model_validate_json(body)
    graph = compile_definition(definition, functions=None)
    namespace = lab.namespace + "-unserved"
    store = await Store.open(lab.url, namespace=namespace, retention_seconds=RETENTION_SECONDS)
    try:
        started = time.perf_counter()
        await store.create_run(NewRun(definition, graph))
        took = time.perf_counter() - started
    finally:
        await store.close()
        async with Probe.open(lab.url, namespace) as probe:
            await probe.delete_all()
    return took * 1000
