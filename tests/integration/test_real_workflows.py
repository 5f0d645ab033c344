"""Recorded scientific workflows, and generated ones of the same shape, run to their end in the right order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.states import RunState, TaskState
from examples.generate import SHAPES
from examples.wfformat import convert
from examples.wfformat_tasks import simulate
from tests.support.bench import Bench

RECORDED = Path(__file__).parents[3] / "shared" / "wfinstances"
FILES = {"methylseq-dirt02-001": 36, "montage-chameleon-2mass-01d-001": 103, "bwa-chameleon-medium-003": 1004}
SIZES = {"methylseq": 36, "montage": 103, "bwa": 1004}


async def runs_in_order(url: str, namespace: str, definition: dict[str, Any], tasks: int) -> None:
    """Two pods run it; every task succeeds once, and none has started before all its parents had ended."""
    bench = await Bench.open(url, namespace)
    try:
        for _ in range(2):
            await bench.pod(simulate)
        run_id = await bench.post(definition)
        run, views = await bench.finished(run_id, 60)
        assert run.state is RunState.SUCCEEDED
        assert (run.total, run.counts[TaskState.SUCCEEDED]) == (tasks, tasks)
        ended: set[str] = set()
        events = await bench.store.get_events(run_id, after=0, limit=100_000)
        for event in events:
            if event.type == "task_started":
                assert ended.issuperset(views[event.task_id or ""].depends_on), event
            elif event.type == "task_succeeded":
                assert event.task_id not in ended, event
                ended.add(event.task_id or "")
        assert len(ended) == tasks
    finally:
        await bench.close()


@pytest.mark.parametrize("name", FILES)
async def test_a_recorded_workflow_runs_in_order(valkey_url: str, namespace: str, name: str) -> None:
    path = RECORDED / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not part of the project; put WfFormat files into {RECORDED.name}/ beside it to run them")
    await runs_in_order(valkey_url, namespace, convert(json.loads(path.read_bytes()), scale=0.0005), FILES[name])


@pytest.mark.parametrize("shape", SIZES)
async def test_a_generated_workflow_of_the_same_shape_runs_in_order(valkey_url: str, namespace: str, shape: str) -> None:
    await runs_in_order(valkey_url, namespace, SHAPES[shape]("simulate", seconds=0.002), SIZES[shape])
