"""Several partitions on one server: each run lives in one, and all share the slots of a pod."""

from __future__ import annotations

from engine.ids import partition_of
from engine.states import RunState
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
