"""Depths: how many ready tasks wait in which lane, and since when."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import redis

from storage.backlog import PRIORITY_STEP
from storage.ready_queue import LANES
from storage.store import Store
from tests.support.lab import Lab, dag
from tests.support.servers import Server, connect, scan


def task(function: str = "task_a", queue: str = "default", priority: int = 0) -> dict[str, Any]:
    return {"task": function, "queue": queue, "priority": priority}


def age(lab: Lab, lane: str, seconds: float, *, priority: int | None = None) -> None:
    """Tasks of a lane, or those of one priority, became ready so much earlier."""
    rows = cast("list[tuple[bytes, float]]", lab.client.zrange(lab.key(f"lane:{lane}"), 0, -1, withscores=True))
    for member, score in rows:
        if priority is None or score // PRIORITY_STEP == 100 - priority:
            lab.client.zadd(lab.key(f"lane:{lane}"), {member: score - seconds * 1000})


async def test_an_empty_store_has_no_lanes(lab: Lab) -> None:
    depths = await lab.store.queue_depths()
    assert (depths.lanes, depths.lanes_left_out, depths.live_runs) == ([], 0, 0)
    assert 0 < depths.round_trip_seconds < 60


async def test_each_lane_says_how_many_wait_and_since_when(lab: Lab) -> None:
    await lab.create(dag(a=task(), b=task(), c=task("task_b", "slow")))
    await lab.create(dag(a=task()))
    age(lab, "default/task_a", 30)
    depths = await lab.store.queue_depths()
    assert [(lane.queue, lane.function, lane.ready) for lane in depths.lanes] == [("default", "task_a", 3), ("slow", "task_b", 1)]
    assert 30 <= depths.lanes[0].oldest_seconds < 60
    assert 0 <= depths.lanes[1].oldest_seconds < 30
    assert depths.live_runs == 2


async def test_what_is_claimed_waits_no_more_and_a_run_that_ended_lives_no_more(lab: Lab) -> None:
    pod = lab.pod()
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    assert (await lab.store.queue_depths()).lanes == []
    assert (await lab.store.queue_depths()).live_runs == 1
    await pod.succeed(claim)
    assert (await lab.store.queue_depths()).live_runs == 0


async def test_runs_are_counted_without_the_note_of_the_audit(lab: Lab) -> None:
    await lab.create(dag(a=""))
    await lab.partition.audit(30_000, 600_000, 100, 0, 86_400_000)
    assert lab.client.zscore(lab.key("audits"), "*") is not None
    assert (await lab.store.queue_depths()).live_runs == 1


async def test_a_task_of_low_priority_that_starves_shows_in_the_age(lab: Lab) -> None:
    await lab.create(dag(a=task(priority=10), b=task(priority=10), c=task(), d=task()))
    age(lab, "default/task_a", 500, priority=0)
    age(lab, "default/task_a", 100, priority=10)
    (lane,) = (await lab.store.queue_depths()).lanes
    assert lane.ready == 4
    assert 500 <= lane.oldest_seconds < 600
    age(lab, "default/task_a", 900, priority=10)
    (lane,) = (await lab.store.queue_depths()).lanes
    assert 1000 <= lane.oldest_seconds < 1100


async def test_of_very_many_lanes_the_rest_is_a_number(lab: Lab) -> None:
    await lab.create(dag(**{f"t{number}": task(queue=f"q{number}") for number in range(LANES + 20)}))
    depths = await lab.store.queue_depths()
    assert (len(depths.lanes), depths.lanes_left_out) == (LANES, 20)


async def test_a_look_costs_a_few_commands_for_each_lane_that_holds_tasks(lab: Lab) -> None:
    await lab.create(dag(a=task(), b=task("task_b"), c=task("task_c", priority=5), d=task("task_c")))
    own, empty = await commands(lab, nothing), await commands(lab, lab.store.queue_depths)
    assert empty - own == 5 + 3 * 3 + 1


async def test_partitions_are_added_up_and_share_the_bound(server: Server, namespace: str) -> None:
    store = await Store.open(server.url, namespace=namespace, partitions=20)
    try:
        depths = await store.queue_depths()
        assert (depths.lanes, depths.live_runs) == ([], 0)
        with connect(server.url) as client:
            for number, partition in enumerate(store.partitions):
                put(client, partition.keys.prefix, "default/task_a", 1 + (number == 0))
            for number in range(40):
                put(client, store.partitions[0].keys.prefix, f"q{number}/task_b", 1)
        depths = await store.queue_depths()
        (lane,) = [lane for lane in depths.lanes if lane.function == "task_a"]
        assert lane.ready == 21
        # Of the first partition's 41 lanes, 25 are 512 // 20.
        assert (len(depths.lanes), depths.lanes_left_out) == (25, 16)
        with connect(server.url) as client:
            client.delete(*scan(client, f"{{{namespace}:*lane*"))
    finally:
        await store.close()


def put(client: redis.Redis, prefix: str, lane: str, tasks: int) -> None:
    """Ready tasks, as `claim` finds them."""
    client.zadd(f"{prefix}lane:{lane}", {f"run {index} -": 100 * PRIORITY_STEP + 1 for index in range(tasks)})
    client.zadd(f"{prefix}lanes", {lane: 100 * PRIORITY_STEP + 1 + (lane != "default/task_a")})


async def nothing() -> None:
    return


async def commands(lab: Lab, call: Callable[[], Awaitable[object]]) -> int:
    """Commands that the server has processed for a call, and for asking."""
    before = int(lab.client.info("stats")["total_commands_processed"])
    await call()
    return int(lab.client.info("stats")["total_commands_processed"]) - before


@pytest.mark.parametrize("pool", ["api", "loops", "inbox"])
async def test_connections_are_told_by_what_they_are_for(lab: Lab, pool: str) -> None:
    await lab.store.queue_depths()
    told = lab.store.connections()[pool]
    assert told.in_use == 0
    assert told.open >= (1 if pool == "api" else 0)
