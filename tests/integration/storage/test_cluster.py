"""A store on a Redis Cluster: what goes to which primary, and what its primaries must be like."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import ConfigError, StorageUnavailable
from engine.ids import partition_of
from engine.states import RunState
from storage.connection import open_client, topology_of
from storage.keys import Keys
from storage.spread_client import slot_of
from storage.store import Store
from storage.topology import Route
from tests.support.bench import Bench
from tests.support.redis_cluster import PASSWORD, USER, RedisCluster, ask, node_id
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect, scan

PARTITIONS = 12


async def good() -> bool:
    return True


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisCluster]:
    with closing(RedisCluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


async def test_runs_in_all_partitions_end_are_listed_and_explained(cluster: RedisCluster, namespace: str) -> None:
    bench = Bench(await Store.open(cluster.url, namespace=namespace, partitions=PARTITIONS))
    store = bench.store
    try:
        pod = await bench.pod(good)
        document = {"steps": [{"type": "parallel", "tasks": ["good"] * 5}, {"type": "sequential", "tasks": ["good"]}]}
        runs: list[str] = []
        while {partition_of(run_id, PARTITIONS) for run_id in runs} != set(range(PARTITIONS)):
            runs.append(await bench.post(document))
        for run_id in runs:
            assert (await bench.finished(run_id))[0].state is RunState.SUCCEEDED
        page = await store.list_runs(limit=1000)
        created = [run.created_at_ms for run in page.runs]
        assert (sorted(run.run_id for run in page.runs), created) == (sorted(runs), sorted(created, reverse=True))
        assert [told.pod_id for told in await store.pods()] == [pod.who.pod_id]
        assert [task.id for task in (await store.explain(runs[0])).tasks] == [
            task.id for task in await store.get_tasks(runs[0], start=0, count=9)
        ]
        assert await store.limbo_repairs() == 0
        for node in cluster.primaries:
            with connect(node.url) as client:
                tags = {key.split("}")[0] for key in scan(client, f"*{namespace}:*")}
            assert tags, "each primary has some of the partitions"
    finally:
        await bench.close()


async def test_a_slot_that_is_on_its_way_takes_no_call_and_what_is_repeated_afterwards_is_made_once(
    cluster: RedisCluster, namespace: str
) -> None:
    bench = Bench(await Store.open(cluster.url, namespace=namespace))
    partition = bench.store.partitions[0]
    slot = slot_of(Keys(namespace, 0).prefix)
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.primaries if node is not source)
    run_id = await bench.post({"steps": [{"type": "sequential", "tasks": ["good"]}]})
    try:
        ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
        ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))
        with pytest.raises(StorageUnavailable):
            await partition.fire_timers()
        with connect(target.url) as client:
            assert scan(client, f"*{namespace}:0*") == []
        ask(source, "CLUSTER SETSLOT", slot, "STABLE")
        ask(target, "CLUSTER SETSLOT", slot, "STABLE")
        cluster.move(slot, target)
        with pytest.raises(StorageUnavailable):
            await partition.fire_timers()
        await partition.fire_timers()
        await bench.pod(good)
        assert (await bench.finished(run_id))[0].state is RunState.SUCCEEDED
    finally:
        await bench.close()


async def test_a_primary_that_may_evict_keys_is_refused_by_its_address(cluster: RedisCluster, namespace: str) -> None:
    guilty = cluster.primaries[2]
    ask(guilty, "CONFIG SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError) as found:
            await Store.open(cluster.url, namespace=namespace, partitions=PARTITIONS)
        assert [problem.startswith(f"the server at 127.0.0.1:{guilty.port} has") for problem in found.value.problems] == [True]
    finally:
        ask(guilty, "CONFIG SET", "maxmemory-policy", "noeviction")


async def test_the_durability_is_that_of_the_weakest_primary(cluster: RedisCluster, namespace: str) -> None:
    ask(cluster.primaries[1], "CONFIG SET", "appendfsync", "no")
    store = Store(cluster.url, namespace=namespace, partitions=PARTITIONS)
    try:
        assert (await store.check()).persistence == "aof-no"
    finally:
        await store.close()
        ask(cluster.primaries[1], "CONFIG SET", "appendfsync", "everysec")


async def test_one_partition_is_a_warning(cluster: RedisCluster, namespace: str) -> None:
    store = Store(cluster.url, namespace=namespace)
    try:
        assert [text.partition(":")[0] for text in (await store.prepare()).warnings] == ["PEERFLOW_PARTITIONS is 1"]
    finally:
        await store.close()


async def test_other_partitions_are_refused(cluster: RedisCluster, namespace: str) -> None:
    await (await Store.open(cluster.url, namespace=namespace, partitions=PARTITIONS)).close()
    with pytest.raises(ConfigError, match=r"PEERFLOW_PARTITIONS \(3\) must be 12"):
        await Store.open(cluster.url, namespace=namespace, partitions=3)


async def test_a_node_that_is_asked_as_if_it_were_alone_is_refused_with_the_remedy(cluster: RedisCluster, namespace: str) -> None:
    with pytest.raises(ConfigError, match=r"use redis\+cluster://"):
        await Store.open(cluster.primaries[0].url, namespace=namespace)


@pytest.mark.parametrize(
    ("password", "words"), [("wrong", "invalid username-password pair"), (PASSWORD, "cluster support disabled")], ids=["stranger", "alone"]
)
async def test_what_keeps_nodes_from_telling_is_said(cluster: RedisCluster, tmp_path: Path, password: str, words: str) -> None:
    with closing(RedisProcess(tmp_path, *USER)) as alone:
        alone.start()
        port = cluster.primaries[0].port if password == "wrong" else alone.port
        store = Store(f"redis+cluster://app:{password}@127.0.0.1:{port}")
        try:
            with pytest.raises(StorageUnavailable) as found:
                await store.prepare()
            assert words in str(found.value)
            assert password not in str(found.value).replace("username-password", "")
        finally:
            await store.close()


async def test_a_connection_to_the_wrong_primary_is_dropped_and_the_next_call_finds_the_right_one(cluster: RedisCluster) -> None:
    topology = topology_of(cluster.url)
    assert topology is not None
    topology.look(0)
    right, slot = topology.servers()[0]
    wrong = topology.servers()[1][0]
    client = open_client(cluster.url, timeout_seconds=2, connections=1, wait_seconds=1, route=Route(topology, slot))
    try:
        topology.learn(slot, wrong)
        key = next(key for key in map(str, range(100_000)) if slot_of(key) == slot)
        with pytest.raises(Exception, match=str(right[1])):
            await client.get(key)
        assert await client.get(key) is None
    finally:
        await client.aclose()
        topology.close()
