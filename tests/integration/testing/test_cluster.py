"""Pods of this process die, freeze and are cut off as processes do, and a cluster leaves nothing behind."""

from __future__ import annotations

import threading
import time

import pytest

from engine.errors import DefinitionError, RunAlreadyFinished
from peerflow.testing.caller import PodGone
from peerflow.testing.cluster import Cluster
from storage.backstage import Backstage
from tests.support.sim_tasks import Hold, MakeCluster, alone, chain, slow, step
from tests.support.waiting import wait_until


@pytest.fixture
def hold() -> Hold:
    return Hold()


@pytest.fixture
def cluster(peerflow_cluster: MakeCluster, hold: Hold) -> Cluster:
    return peerflow_cluster(pods=1, tasks=[step, slow, hold.function()])


def test_a_run_is_submitted_waited_for_and_read(cluster: Cluster) -> None:
    run_id = cluster.submit(chain(2))
    run = cluster.wait(run_id)
    assert (run.state, cluster.status(run_id)) == ("succeeded", run)
    assert cluster.results(run_id) == {"step": 0, "step_2": 1}
    assert [event.type for event in cluster.events(run_id)][-1] == "run_succeeded"
    with pytest.raises(RunAlreadyFinished):
        cluster.cancel(run_id)


def test_a_definition_of_an_unknown_function_is_refused(cluster: Cluster) -> None:
    with pytest.raises(DefinitionError, match="nothing_such"):
        cluster.submit(alone("nothing_such"))


def test_attempts_are_noted_outside_of_the_server(cluster: Cluster) -> None:
    run_id = cluster.submit(chain(2))
    cluster.wait(run_id)
    phases = [(entry.phase, entry.text("task_id")) for entry in cluster.history.entries() if entry.phase.startswith("attempt")]
    assert phases == [(phase, task) for task in ("step", "step_2") for phase in ("attempt_started", "attempt_ended")]


def test_a_killed_pod_says_nothing_more_and_another_takes_over(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    (killed,) = cluster.pods
    killed.kill()
    sent = cluster.trace.numbers["p1", "*"]
    hold.finish.set()
    other = cluster.start_pod()
    assert cluster.wait(run_id).state == "succeeded"
    task = cluster.tasks(run_id)["held"]
    assert (task.pod, task.attempts, task.lost) == (other.pod_id, 2, 1)
    assert cluster.trace.numbers["p1", "*"] == sent
    assert hold.attempts == [1, 2]


def test_a_frozen_pod_stands_still_and_its_late_commit_is_refused(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    (frozen,) = cluster.pods
    frozen.freeze()
    hold.finish.set()
    cluster.start_pod()
    assert cluster.wait(run_id).state == "succeeded"
    assert frozen.state == "frozen"
    assert cluster.trace.seen["zombie refused"] + cluster.trace.seen["lease found lost"] == 0, "it has said nothing yet"
    cluster.settle()
    assert cluster.trace.seen["zombie refused"] + cluster.trace.seen["lease found lost"] >= 1
    assert (cluster.tasks(run_id)["held"].result, frozen.state) == (2, "running")


def test_a_pod_that_is_frozen_for_less_than_its_leases_keeps_its_task(cluster: Cluster, hold: Hold) -> None:
    cluster.start_pod()
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    (holder,) = [pod for pod in cluster.pods if pod.pod.held]
    holder.freeze()
    cluster.advance(0.6 * 10)
    holder.thaw()
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"
    assert (cluster.tasks(run_id)["held"].attempts, hold.attempts) == (1, [1])


def test_a_pod_that_was_cut_off_learns_that_its_task_was_taken(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    (lonely,) = cluster.pods
    lonely.cut_off()
    cluster.start_pod()
    cluster.advance(30)
    hold.wait_until_started()
    lonely.reconnect()
    wait_until(lambda: cluster.trace.seen["lease found lost"] == 1, "its heartbeat tells it")
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"
    assert cluster.tasks(run_id)["held"].lost == 1


def test_a_pod_that_is_told_to_stop_gives_back_what_it_cannot_finish(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    cluster.pods[0].stop(grace_seconds=0.05)
    cluster.start_pod()
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"
    task = cluster.tasks(run_id)["held"]
    assert (task.attempts, task.lost) == (1, 0)
    assert cluster.pods[0].state == "stopped"


def test_pods_with_short_leases_work_in_real_time(peerflow_cluster: MakeCluster, hold: Hold) -> None:
    cluster = peerflow_cluster(pods=2, tasks=[hold.function()], lease_ttl_seconds=0.5, virtual_time=False)
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    next(pod for pod in cluster.pods if pod.pod.held).kill()
    hold.wait_until_started()
    hold.finish.set()
    assert cluster.wait(run_id).state == "succeeded"
    with pytest.raises(ValueError, match="virtual_time"):
        cluster.jump(1)


def test_a_run_that_does_not_end_is_told_with_the_latest_calls(cluster: Cluster) -> None:
    hold_run = cluster.submit(alone("held"))
    with pytest.raises(AssertionError, match=r"did not end within 0\.3 s: 1 running(.|\n)*p1 claim#"):
        cluster.wait(hold_run, within_seconds=0.3)


def test_a_run_that_nothing_can_move_is_in_limbo(cluster: Cluster) -> None:
    pod = cluster.pods[0]
    run_id = cluster.submit({"tasks": {"nap": {"task": "sleep", "args": {"seconds": 60}}}})
    wait_until(lambda: cluster.tasks(run_id)["nap"].state == "waiting", "it sleeps")
    cluster.backstage.forget_timers()
    with pytest.raises(AssertionError, match="in limbo"):
        cluster.wait(run_id)
    assert pod.lives


def test_a_closed_cluster_leaves_no_keys_and_no_threads(valkey_url: str) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Cluster(pods=2, tasks=[step, slow], url=valkey_url) as cluster:
        cluster.submit(alone("slow"))
        cluster.pods[0].kill()
        cluster.pods[1].freeze()
    backstage = Backstage(valkey_url, cluster.namespace, 1)
    assert backstage.keys() == {}
    backstage.close()
    wait_until(lambda: {thread.name for thread in threading.enumerate()} <= before, "its threads have ended")


def test_a_cluster_of_its_own_brings_its_server() -> None:
    started = time.monotonic()
    with Cluster(tasks=[step]) as cluster:
        assert cluster.wait(cluster.submit(chain(1))).state == "succeeded"
    assert time.monotonic() - started < 30


def test_scripts_that_the_server_has_forgotten_are_loaded_again(cluster: Cluster) -> None:
    cluster.backstage.forget_scripts()
    cluster.pods[0].poke()
    run_id = cluster.submit(chain(2))
    assert cluster.wait(run_id).state == "succeeded"


def test_a_cluster_has_as_many_partitions_as_it_is_told(peerflow_cluster: MakeCluster) -> None:
    cluster = peerflow_cluster(pods=2, tasks=[step], partitions=3)
    run_ids = [cluster.submit({"tasks": {"nap": {"task": "sleep", "args": {"seconds": 3600}}}}) for _ in range(8)]
    assert {cluster.wait(run_id).state for run_id in run_ids} == {"succeeded"}
    assert len({key.split("}")[0] for key in cluster.backstage.keys() if ":run:" in key}) > 1  # noqa: SIM118  # not a dict


def test_a_cancelled_run_is_noted_and_stays_cancelled(cluster: Cluster, hold: Hold) -> None:
    run_id = cluster.submit(alone("held"))
    hold.wait_until_started()
    assert cluster.cancel(run_id) == "cancelled"
    assert cluster.wait(run_id).state == "cancelled"
    assert [operation.kind for operation in cluster.history.operations()] == ["post", "cancel"]


def test_a_pod_that_is_down_takes_no_request(cluster: Cluster) -> None:
    (pod,) = cluster.pods
    pod.kill()
    with pytest.raises(PodGone, match="p1 killed"):
        cluster.submit(chain(1), through=pod)


def test_a_task_that_no_pod_serves_is_told_as_ready(cluster: Cluster) -> None:
    run_id = cluster.submit(alone("step", queue="nobodys"))
    with pytest.raises(AssertionError, match=r"nothing will move it: 1 ready(.|\n)*nobodys/step"):
        cluster.wait(run_id)
