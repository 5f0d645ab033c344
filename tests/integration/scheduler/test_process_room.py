"""A pod takes no more process functions than it has child processes for; the rest is for other pods, and holds up nothing else."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.states import RunState, TaskState
from tests.support.bench import Bench
from tests.support.process_tasks import meets, stays_until
from tests.support.servers import Server, connect
from tests.support.waiting import wait_until_async


async def good() -> bool:
    return True


async def running(bench: Bench, run_id: str) -> bool:
    return (await bench.store.get_run(run_id)).counts[TaskState.RUNNING] == 3


def parallel(*tasks: Any) -> dict[str, Any]:
    return {"steps": [{"type": "parallel", "tasks": list(tasks)}]}


async def test_process_tasks_spread_over_the_pods(bench: Bench, tmp_path: Path) -> None:
    for _ in range(2):
        await bench.pod(in_processes=[meets], processes=1)
    task = {"task": "meets", "args": {"folder": str(tmp_path), "others": 2}}
    run, tasks = await bench.run(parallel(task, task))
    assert run.state is RunState.SUCCEEDED
    assert len({view.pod for view in tasks.values()}) == 2


async def test_a_pod_whose_processes_are_busy_leaves_process_tasks_ready_and_goes_on_with_others(bench: Bench, tmp_path: Path) -> None:
    await bench.pod(good, in_processes=[stays_until], processes=1)
    task = {"task": "stays_until", "args": {"path": str(tmp_path / "gate")}}
    run_id = await bench.post(parallel(task, task, task))
    for _ in range(3):
        other, _ = await bench.run(parallel("good", "good"))
        assert other.state is RunState.SUCCEEDED
    views = [await bench.task(run_id, name) for name in ("stays_until", "stays_until_2", "stays_until_3")]
    assert sorted(view.state for view in views) == [TaskState.READY, TaskState.READY, TaskState.RUNNING]
    (tmp_path / "gate").touch()
    final = await bench.finished(run_id)
    assert final[0].state is RunState.SUCCEEDED, final[1]


async def test_process_tasks_fill_slots_too(bench: Bench, tmp_path: Path) -> None:
    await bench.pod(good, in_processes=[stays_until], processes=4, concurrency=1)
    task = {"task": "stays_until", "args": {"path": str(tmp_path / "gate")}}
    run_id = await bench.post(parallel(task, task))

    async def one_runs() -> bool:
        return (await bench.store.get_run(run_id)).counts[TaskState.RUNNING] == 1

    await wait_until_async(one_runs, "the slot is taken")
    other = await bench.post(parallel("good"))
    assert (await bench.task(other, "good")).state is TaskState.READY
    await bench.pod(good)
    assert (await bench.finished(other))[0].state is RunState.SUCCEEDED
    assert (await bench.task(run_id, "stays_until_2")).state is TaskState.READY
    (tmp_path / "gate").touch()
    final = await bench.finished(run_id)
    assert final[0].state is RunState.SUCCEEDED, final[1]


async def test_a_backlog_of_process_tasks_makes_busy_pods_ask_no_more_often(bench: Bench, server: Server, tmp_path: Path) -> None:
    """Pods that are full must not wake each other for what none of them has room for."""
    for _ in range(3):
        await bench.pod(good, in_processes=[stays_until], processes=1)
    task = {"task": "stays_until", "args": {"path": str(tmp_path / "gate")}}
    run_id = await bench.post(parallel(*[task] * 30))

    def calls() -> int:
        with connect(server.url) as client:
            return client.info("commandstats")["cmdstat_evalsha"]["calls"]

    await wait_until_async(lambda: running(bench, run_id), "each pod runs one of them")
    before = calls()
    for _ in range(20):
        await bench.run(parallel("good"))
    # A run of one task costs its creation, and a claim and a commit; each of the three pods may look twice for each.
    assert calls() - before < 20 * 12
    (tmp_path / "gate").touch()
    assert (await bench.finished(run_id, 60))[0].state is RunState.SUCCEEDED
