"""Each fault of a plan really happens, and pods come through it as the design says."""

from __future__ import annotations

import pytest

from peerflow.testing.caller import PodGone
from peerflow.testing.cluster import Cluster
from peerflow.testing.faults import ERRORS, Fault, FaultKind, FaultPlan, Point
from tests.support.sim_tasks import MakeCluster, chain, step

DONE = {"step": 0, "step_2": 1, "step_3": 2, "step_4": 3}
SECOND_COMMIT = Point("*", "commit", 2)


@pytest.fixture
def cluster(peerflow_cluster: MakeCluster) -> Cluster:
    return peerflow_cluster(pods=2, tasks=[step])


def run_with(cluster: Cluster, kind: FaultKind, code: str = "LOADING") -> str:
    cluster.plan = FaultPlan.one(SECOND_COMMIT, kind, code)
    run_id = cluster.submit(chain())
    assert cluster.wait(run_id).state == "succeeded"
    cluster.settle()
    assert [(call.name, call.fault) for call in cluster.met] == [("commit", Fault(kind, code))]
    assert cluster.results(run_id) == DONE
    return run_id


def lost_attempts(cluster: Cluster, run_id: str) -> dict[str, int]:
    return {task.id: task.lost for task in cluster.tasks(run_id).values() if task.lost}


def test_a_pod_that_crashes_before_a_commit_leaves_its_task_to_another(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.CRASH_BEFORE)
    assert sorted(pod.state for pod in cluster.pods) == ["killed", "running"]
    assert lost_attempts(cluster, run_id) == {"step_2": 1}
    assert cluster.trace.seen["orphan taken over"] == 1


def test_a_commit_counts_though_its_pod_crashes_before_the_reply(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.CRASH_AFTER)
    tasks = cluster.tasks(run_id)
    assert (tasks["step_2"].attempts, tasks["step_2"].lost) == (1, 0)
    assert lost_attempts(cluster, run_id) == {"step_3": 1}, "claimed by the commit whose reply nobody heard"
    assert tasks["step_3"].pod != tasks["step_2"].pod


def test_a_commit_that_was_lost_on_the_way_is_sent_again(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.LOST)
    assert lost_attempts(cluster, run_id) == {}
    assert cluster.trace.seen["commit repeated"] == 0, "the server saw it once"


def test_a_commit_whose_reply_was_lost_is_repeated_and_answered_as_first(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.UNKNOWN)
    assert lost_attempts(cluster, run_id) == {}
    assert cluster.trace.seen["commit repeated"] == 1
    assert [event.type for event in cluster.events(run_id)].count("task_succeeded") == 4


def test_the_commit_of_a_pod_that_stood_still_for_too_long_is_refused(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.PAUSE_BEFORE)
    assert lost_attempts(cluster, run_id) == {"step_2": 1}
    assert cluster.trace.seen["zombie refused"] == 1
    assert [pod.state for pod in cluster.pods] == ["running", "running"]


def test_what_a_pod_claimed_before_it_stood_still_is_taken_over(cluster: Cluster) -> None:
    run_id = run_with(cluster, FaultKind.PAUSE_AFTER)
    assert lost_attempts(cluster, run_id) == {"step_3": 1}
    assert cluster.tasks(run_id)["step_2"].attempts == 1


@pytest.mark.parametrize("code", ERRORS)
def test_a_call_that_the_server_refuses_is_made_again(cluster: Cluster, code: str) -> None:
    run_id = run_with(cluster, FaultKind.ERROR, code)
    assert lost_attempts(cluster, run_id) == {}


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_heartbeat_meets_its_faults_in_its_own_thread(cluster: Cluster, kind: FaultKind) -> None:
    cluster.plan = FaultPlan.one(Point("p1", "heartbeat", cluster.trace.numbers["p1", "heartbeat"] + 1), kind)
    cluster.pods[0].poke()
    run_id = cluster.submit(chain())
    assert cluster.wait(run_id).state == "succeeded"
    cluster.settle()
    assert [(call.pod, call.name) for call in cluster.met] == [("p1", "heartbeat")]
    assert cluster.results(run_id) == DONE


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
def test_a_client_whose_pod_dies_while_it_posts_repeats_it_at_another(cluster: Cluster, kind: FaultKind) -> None:
    cluster.plan = FaultPlan.one(Point("p1", "create_run", 1), kind)
    with pytest.raises(PodGone):
        cluster.submit(chain(), "key", through=cluster.pods[0])
    run_id = cluster.submit(chain(), "key", through=cluster.pods[1])
    assert cluster.wait(run_id).state == "succeeded"
    assert cluster.trace.seen["post repeated"] == (kind is FaultKind.CRASH_AFTER)


@pytest.mark.parametrize("call", ["inbox", "graphs"])
def test_reads_of_a_pod_meet_faults_too(cluster: Cluster, call: str) -> None:
    cluster.plan = FaultPlan({Point("*", call, cluster.trace.numbers["*", call] + 1): Fault(FaultKind.LOST)})
    run_id = cluster.submit(chain())
    assert cluster.wait(run_id).state == "succeeded"
    assert [met.name for met in cluster.met] == [call]
