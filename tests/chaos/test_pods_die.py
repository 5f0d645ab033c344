"""Pods are killed, frozen and stopped while runs are under way: every run ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from examples.generate import bwa
from tests.support.pod_client import PodClient
from tests.support.pods import Cluster
from tests.support.waiting import wait_until

TTL_SECONDS = 2.0
HOLD = {"task": "hold_first_attempt", "args": {"gate": "gate"}}


def assert_each_task_ended_once(pod: PodClient, run_id: str, status: dict[str, Any]) -> None:
    """One terminal event a task, dense sequence numbers, and no task started before all its parents had succeeded."""
    events = pod.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ends = Counter(event["task"] for event in events if event["type"] == "task_succeeded")
    assert ends == {task["id"]: 1 for task in status["tasks"]}
    succeeded: set[str] = set()
    parents = {task["id"]: task["depends_on"] for task in status["tasks"]}
    for event in events:
        if event["type"] == "task_started":
            assert succeeded.issuperset(parents[event["task"]]), event
        if event["type"] == "task_succeeded":
            succeeded.add(event["task"])


@pytest.mark.slow
def test_runs_succeed_although_one_pod_is_killed_and_one_is_frozen_past_its_leases(cluster: Cluster) -> None:
    killed, frozen, survivor = cluster.start(3)
    definition = bwa("work", width=300, seconds=0.2)
    runs = [pod.post(definition) for pod in (killed, frozen, survivor)]
    wait_until(lambda: len({line[4] for line in cluster.lines("attempts")}) == 3, "all three pods work", 30)
    killed.kill()
    frozen.freeze()
    statuses = [survivor.wait_until_finished(run_id) for run_id in runs]
    frozen.thaw()
    assert [status["status"] for status in statuses] == ["succeeded"] * 3
    for run_id, status in zip(runs, statuses, strict=True):
        assert_each_task_ended_once(survivor, run_id, status)
    lost = sum(task["lost"] for status in statuses for task in status["tasks"])
    assert lost > 0, "no attempt was under way on a pod that was killed or frozen: the test proved nothing"
    wait_until(frozen.is_ready, "the frozen pod works again")


def test_what_a_frozen_pod_finishes_after_its_lease_is_refused(cluster: Cluster) -> None:
    first, second = cluster.start(2)
    run_id = first.post({"tasks": {"held": HOLD, "after": {"task": "work", "depends_on": ["held"]}}})
    wait_until(lambda: cluster.lines("attempts"), "the task has started")
    owner_id = cluster.lines("attempts")[0][4]
    owner, other = (first, second) if first.pod_id == owner_id else (second, first)
    owner.freeze()
    # The gate opens while its owner is frozen: on waking up it has a result at once, and no lease.
    (cluster.folder / "gate").touch()
    status = other.wait_until_finished(run_id, 20)
    owner.thaw()
    wait_until(
        lambda: "commit_refused" in owner.log.read_text() or "lease_lost" in owner.log.read_text(),
        "the late result is refused and reported",
    )
    again = other.wait_until_finished(run_id)
    assert again == status
    held = status["tasks"][0]
    assert (held["result"], held["attempts"], held["lost"]) == ("attempt 2", 2, 1)
    tokens = [int(line[3]) for line in cluster.lines("attempts") if line[1] == "held"]
    assert tokens == sorted(set(tokens))


def test_a_task_that_kills_its_pod_fails_after_max_lost_and_others_go_on(cluster: Cluster) -> None:
    cluster.start(1)
    poison = cluster.pods[0].post({"steps": [{"type": "sequential", "tasks": ["kill_the_pod", "noop"]}]})
    for _ in range(4):
        wait_until(lambda: cluster.pods[-1].process.poll() is not None, "the task has killed its pod", 30)
        cluster.start(1)
    assert len(cluster.lines("attempts")) == 4
    survivor = cluster.pods[-1]
    status = survivor.wait_until_finished(poison, 30)
    assert status["status"] == "failed"
    assert [task["status"] for task in status["tasks"]] == ["failed", "skipped"]
    assert status["tasks"][0]["error"]["type"] == "Lost"
    assert status["tasks"][0]["lost"] == 4
    healthy = survivor.post({"steps": [{"type": "sequential", "tasks": ["noop"]}]})
    assert survivor.wait_until_finished(healthy)["status"] == "succeeded"


def test_a_pod_whose_loop_is_blocked_for_three_leases_keeps_its_task(cluster: Cluster) -> None:
    cluster.start(2)
    run_id = cluster.pods[0].post({"tasks": {"blocked": {"task": "block_the_loop", "args": {"seconds": 3 * TTL_SECONDS}}}})
    wait_until(lambda: cluster.lines("attempts"), "the task has started")
    owner_id = cluster.lines("attempts")[0][4]
    other = next(pod for pod in cluster.pods if owner_id.encode() not in pod.log.read_bytes())
    status = other.wait_until_finished(run_id, 30)
    assert status["status"] == "succeeded"
    assert (status["tasks"][0]["attempts"], status["tasks"][0]["lost"]) == (1, 0)
    assert len(cluster.lines("attempts")) == 1


def test_a_pod_that_is_told_to_stop_gives_its_tasks_back_uncharged(cluster: Cluster) -> None:
    leaving, staying = cluster.start(2)
    run_id = leaving.post({"tasks": {"held": HOLD}})
    wait_until(lambda: cluster.lines("attempts"), "the task has started")
    if leaving.pod_id != cluster.lines("attempts")[0][4]:
        leaving, staying = staying, leaving
    assert leaving.terminate() == 0
    wait_until(lambda: len(cluster.lines("attempts")) == 2, "the other pod has started the task")
    (cluster.folder / "gate").touch()
    status = staying.wait_until_finished(run_id)
    assert status["status"] == "succeeded"
    assert (status["tasks"][0]["attempts"], status["tasks"][0]["lost"]) == (1, 0)
