"""Several partitions on one server: each run lives in one, and all share the slots of a pod."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from engine.ids import partition_of
from engine.states import RunState
from scheduler.room import Room
from storage.partition import Partition, Settled
from storage.store import Store
from tests.support.bench import Bench
from tests.support.servers import connect, scan
from tests.support.waiting import wait_until_async

PARTITIONS = 4


async def good() -> bool:
    return True


def parallel(count: int) -> dict[str, object]:
    return {"steps": [{"type": "parallel", "tasks": ["good"] * count}, {"type": "sequential", "tasks": ["good"]}]}


async def test_runs_in_all_partitions_end_and_are_listed_newest_first(valkey_url: str, namespace: str) -> None:
    bench = Bench(await Store.open(valkey_url, namespace=namespace, partitions=PARTITIONS))
    try:
        pods = [await bench.pod(good), await bench.pod(good)]
        runs = [await bench.post(parallel(5)) for _ in range(40)]
        assert {partition_of(run_id, PARTITIONS) for run_id in runs} == set(range(PARTITIONS))
        for run_id in runs:
            assert (await bench.finished(run_id))[0].state is RunState.SUCCEEDED
        page = await bench.store.list_runs(limit=100)
        created = [run.created_at_ms for run in page.runs]
        assert (sorted(run.run_id for run in page.runs), created) == (sorted(runs), sorted(created, reverse=True))
        for pod in pods:
            await bench.stop(pod)
        with connect(valkey_url) as client:
            keys = scan(client, f"*{namespace}*")
            tags = {key.split("}")[0] for key in keys}
            assert tags == {f"{{{namespace}", *(f"{{{namespace}:{number}" for number in range(PARTITIONS))}
    finally:
        await bench.close()


async def test_a_partition_with_much_to_do_does_not_keep_the_slots_from_another(valkey_url: str, namespace: str) -> None:
    bench = Bench(await Store.open(valkey_url, namespace=namespace, partitions=2))
    try:
        runs = [await bench.post(parallel(3000))]
        while len({partition_of(run_id, 2) for run_id in runs}) == 1:
            runs.append(await bench.post(parallel(1)))
        await bench.pod(good, concurrency=2)
        assert (await bench.finished(runs[-1]))[0].state is RunState.SUCCEEDED
        assert (await bench.store.get_run(runs[0])).state is RunState.RUNNING
        await bench.store.cancel(runs[0])
        for run_id in runs:
            await bench.finished(run_id)

        def ready_queue() -> list[str]:
            with connect(valkey_url) as client:
                return scan(client, f"{{{namespace}:*lane*")

        await wait_until_async(lambda: ready_queue() == [], "the cancelled run is swept out of the ready queue")
    finally:
        await bench.close()


async def test_word_of_ready_tasks_that_comes_while_all_places_are_reserved_is_heeded_once_there_is_one(
    valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def gated(name: str) -> None:
        await gates[name].wait()

    bench = Bench(await Store.open(valkey_url, namespace=namespace))
    try:
        pod = await bench.pod(gated, good, concurrency=8)
        slots: Room = vars(pod)["_holdings"].slots
        claimer = cast("dict[str, Any]", vars(vars(pod)["_claimers"][0]))
        await bench.post({"steps": [{"type": "parallel", "tasks": [{"task": "gated", "args": {"name": name}} for name in gates]}]})
        await wait_until_async(lambda: pod.held == 2, "both tasks run")
        partition: Partition = claimer["_partition"]
        commit, commits, told = partition.commit, 0, ""

        async def meanwhile(*call: Any) -> Settled:
            nonlocal commits, told
            commits += 1
            settled = await commit(*call)
            if commits == 1:
                told = await bench.post({"steps": [{"type": "sequential", "tasks": ["good"]}]})
                await wait_until_async(lambda: claimer["_look"], "the pod has heard of it")
                gates["b"].set()
                await wait_until_async(lambda: claimer["_done"], "there is another task to commit")
                # Calls of other partitions reserve all places, until the second commit is answered.
                slots.settle(-slots.capacity)
            elif commits == 2:
                slots.settle(slots.capacity)
            return settled

        monkeypatch.setattr(partition, "commit", meanwhile)
        gates["a"].set()
        await wait_until_async(lambda: told, "the first task is committed")
        # A pod that has heard of nothing looks after 20 s.
        assert (await bench.finished(told, within_seconds=10))[0].state is RunState.SUCCEEDED
    finally:
        await bench.close()
