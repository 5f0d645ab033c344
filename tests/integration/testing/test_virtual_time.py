"""Time passes when a test says so, or when nothing else can happen; pods that live lose nothing by it."""

from __future__ import annotations

import itertools
import time

import pytest

from peerflow.testing.cluster import Cluster
from storage.backstage import shifted
from storage.scripts import all_scripts, source
from tests.support.sim_tasks import Hold, MakeCluster, alone, step

DAY = 86_400
fails = 0


async def flaky() -> str:
    global fails  # noqa: PLW0603  # what a flaky service is
    fails += 1
    if fails < 3:
        raise ConnectionError("not yet")
    return "at last"


@pytest.fixture
def hold() -> Hold:
    return Hold()


@pytest.fixture
def cluster(peerflow_cluster: MakeCluster, hold: Hold) -> Cluster:
    return peerflow_cluster(pods=2, tasks=[step, flaky, hold.function()])


def test_a_sleep_of_a_day_takes_no_time_and_is_a_day_long(cluster: Cluster) -> None:
    started = time.monotonic()
    run_id = cluster.submit(
        {"tasks": {"nap": {"task": "sleep", "args": {"seconds": DAY}}, "after": {"task": "step", "depends_on": ["nap"]}}}
    )
    run = cluster.wait(run_id)
    assert run.state == "succeeded"
    assert time.monotonic() - started < 15
    nap = cluster.tasks(run_id)["nap"]
    assert nap.started_at_ms is not None
    assert nap.finished_at_ms is not None
    assert DAY <= (nap.finished_at_ms - nap.started_at_ms) / 1000 < DAY + 60
    assert nap.attempts == 1


def test_a_retry_waits_for_its_time_and_no_longer(cluster: Cluster) -> None:
    global fails  # noqa: PLW0603
    fails = 0
    run_id = cluster.submit(alone("flaky", retry={"max_attempts": 3, "wait": {"initial": 600, "multiplier": 2, "max": 3600, "jitter": 0}}))
    assert cluster.wait(run_id).state == "succeeded"
    retries = [event.at_ms for event in cluster.events(run_id) if event.type == "task_ready"]
    first, second = (round((after - before) / 1000) for before, after in itertools.pairwise(retries))
    assert 600 <= first <= 660
    assert 1200 <= second <= 1260


@pytest.mark.parametrize("seconds", [3600, DAY, -3600])
def test_a_clock_that_jumps_takes_no_task_from_a_living_pod(cluster: Cluster, hold: Hold, seconds: int) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    cluster.jump(seconds)
    cluster.advance(40)
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"
    task = cluster.tasks(run_id)["held"]
    assert (task.attempts, task.lost, hold.attempts) == (1, 0, [1])
    assert cluster.trace.seen["orphan taken over"] == 0
    assert cluster.trace.seen["clock jump noticed"] >= 1


def test_a_jump_ahead_makes_leases_end_and_heartbeats_revive_them(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    cluster.jump(3600)
    assert cluster.trace.seen["lease revived"] == 1
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"


def test_a_jump_back_makes_nothing_expire_that_has_no_end(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    cluster.jump(-60)
    cluster.advance(120)
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"


def test_time_that_passes_ends_the_leases_of_dead_pods_only(cluster: Cluster, hold: Hold) -> None:
    run_ids = [cluster.submit(alone("held")) for _ in range(2)]
    for _ in run_ids:
        hold.wait_until_started()
    cluster.pods[0].kill()
    dead = len([task for run in run_ids for task in cluster.tasks(run).values() if task.pod == cluster.pods[0].pod_id])
    cluster.advance(DAY)
    hold.finish.set()
    assert [cluster.wait(run_id).state for run_id in run_ids] == ["succeeded", "succeeded"]
    assert sum(task.lost for run in run_ids for task in cluster.tasks(run).values()) == dead


def test_runs_are_forgotten_when_their_time_is_over(peerflow_cluster: MakeCluster) -> None:
    cluster = peerflow_cluster(tasks=[step], retention_seconds=3600)
    run_id = cluster.submit(alone("step"))
    cluster.wait(run_id)
    cluster.advance(3500)
    assert cluster.exists(run_id)
    cluster.advance(200)
    assert not cluster.exists(run_id)
    assert [key for key in set(cluster.backstage.keys()) if run_id in key] == []


def test_the_scripts_of_production_know_nothing_of_a_shifted_clock() -> None:
    for name, text in all_scripts():
        assert text == source(name)
        assert "'clock'" not in text
        changed = shifted(name, text)
        assert (
            changed.replace("\n" + changed.split("local now = math.floor(now_us / 1000)\n")[1].split("local function")[0], "\n", 1) == text
        )
        assert "'clock'" in changed


def test_a_script_that_reads_the_clock_in_another_way_cannot_be_shifted() -> None:
    with pytest.raises(ValueError, match="does not read the clock"):
        shifted("odd", "return redis.call('TIME')")
