"""Pods on a Redis Cluster: partitions on all primaries, slots that move, a primary that dies; no call is made twice, and none half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from engine.ids import partition_of
from storage.keys import Keys
from storage.spread_client import slot_of
from tests.chaos.scene import Scene, ids
from tests.support.redis_cluster import RedisCluster, serves
from tests.support.waiting import wait_until

PARTITIONS = 12


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Generator[RedisCluster]:
    redis_cluster = RedisCluster(tmp_path)
    yield redis_cluster
    redis_cluster.close()


@pytest.fixture
def scene(tmp_path: Path, redis_cluster: RedisCluster) -> Generator[Scene]:
    scene = Scene(tmp_path, redis_cluster.url, partitions=str(PARTITIONS))
    yield scene
    scene.close()


def slot(partition: int) -> int:
    return slot_of(Keys("pf", partition).prefix)


def others_go_on(scene: Scene) -> None:
    """While one partition of twelve takes no call."""
    scene.wait_for_posts(5)
    assert all(pod.is_ready() for pod in scene.cluster.pods)


@pytest.mark.parametrize("how", ["key by key", pytest.param("at once", marks=pytest.mark.long)])
def test_slots_that_move_while_runs_go_on_cost_nothing(scene: Scene, redis_cluster: RedisCluster, how: str) -> None:
    scene.post_all_the_time()
    scene.wait_for_posts(30)
    owners = Counter(redis_cluster.owner_of(slot(partition)).port for partition in range(PARTITIONS))
    assert len(owners) == 3, "partitions are on all primaries"
    for partition in (0, 1, 2):
        source = redis_cluster.owner_of(slot(partition))
        target = next(node for node in redis_cluster.primaries if node is not source)
        if how == "at once":
            redis_cluster.move_at_once(slot(partition), target)
        else:
            redis_cluster.move(slot(partition), target, while_on_its_way=lambda: others_go_on(scene))
        assert serves(target, slot(partition))
    scene.wait_until_ready()
    scene.wait_for_posts(30)
    accepted, records = scene.finish(rollback=False)
    assert accepted <= ids(records)
    assert {partition_of(run_id, PARTITIONS) for run_id in accepted} >= {0, 1, 2}


def test_a_primary_that_dies_is_replaced_and_the_leases_in_the_other_partitions_are_kept(scene: Scene, redis_cluster: RedisCluster) -> None:
    dying, replica = redis_cluster.primaries[0], redis_cluster.replica
    theirs = [partition for partition in range(PARTITIONS) if serves(dying, slot(partition))]
    assert 0 < len(theirs) < PARTITIONS
    scene.post_all_the_time()
    scene.wait_for_posts(30)
    dying.kill()
    wait_until(lambda: serves(replica, slot(theirs[0])), "the replica has taken over", 30)
    scene.wait_until_ready()
    scene.wait_for_posts(30)
    accepted, records = scene.finish(rollback=True)
    assert accepted <= ids(records)
    assert {partition_of(run_id, PARTITIONS) for run_id in accepted} > set(theirs)
