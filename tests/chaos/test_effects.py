"""Pods die and freeze around an effect: the next attempt knows what can be known, and one confirmation counts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from engine.ids import effect_key
from tests.support.pods import Cluster, PodProcess
from tests.support.waiting import wait_until

KINDS = ("loop", "thread", "process")


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    cluster = Cluster(tmp_path, tasks="tests.support.effect_pod_tasks", processes="2")
    yield cluster
    cluster.close()


def paying(*places: str) -> dict[str, Any]:
    return {"tasks": {f"{place}-{kind}": {"task": f"pay_in_{kind}", "args": {"hold": place}} for place in places for kind in KINDS}}


def of(cluster: Cluster, task_id: str) -> list[list[str]]:
    """What a task's attempts noted, the task's name left out."""
    return [line[1:] for line in cluster.lines("effects") if line[0] == task_id]


def effects(pod: PodProcess, run_id: str, task_id: str) -> list[tuple[str, str, int]]:
    return [(effect["name"], effect["state"], effect["attempt"]) for effect in pod.get(f"/runs/{run_id}/tasks/{task_id}")["effects"]]


def confirmations(pod: PodProcess, run_id: str) -> list[str]:
    return sorted(event["task"] for event in pod.events(run_id) if event["type"] == "effect_confirmed")


@pytest.mark.slow
def test_after_a_kill_the_next_attempt_finds_what_was_confirmed_and_what_is_unknown(cluster: Cluster) -> None:
    [killed] = cluster.start(1)
    run_id = killed.post(paying("inside", "after"))
    wait_until(
        lambda: all(of(cluster, f"inside-{kind}") and len(of(cluster, f"after-{kind}")) == 2 for kind in KINDS),
        "every first attempt is where it is held",
        30,
    )
    killed.kill()
    [survivor] = cluster.start(1)
    status = survivor.wait_until_finished(run_id)
    assert status["status"] == "succeeded"
    results = {task["id"]: task["result"] for task in status["tasks"]}
    for kind in KINDS:
        key = effect_key(run_id, f"inside-{kind}", "charge")
        assert of(cluster, f"inside-{kind}") == [["1", "found", "new", key], ["2", "found", "unknown", key], ["2", "left"]]
        assert results[f"inside-{kind}"] == "payment 2"
        assert effects(survivor, run_id, f"inside-{kind}") == [("charge", "confirmed", 2)]
        key = effect_key(run_id, f"after-{kind}", "charge")
        assert of(cluster, f"after-{kind}") == [
            ["1", "found", "new", key],
            ["1", "left"],
            ["2", "found", "confirmed", key],
            ["2", "left"],
        ]
        assert results[f"after-{kind}"] == "payment 1"
        assert effects(survivor, run_id, f"after-{kind}") == [("charge", "confirmed", 1)]
    assert confirmations(survivor, run_id) == sorted(results)


@pytest.mark.slow
def test_what_a_frozen_pod_confirms_after_its_lease_is_refused(cluster: Cluster) -> None:
    frozen, other = cluster.start(2)
    run_id = frozen.post({"tasks": {"pay": {"task": "pay_in_thread", "args": {"hold": "inside"}}}})
    wait_until(lambda: of(cluster, "pay"), "the effect has begun")
    [owner] = [event["pod"] for event in other.events(run_id) if event["type"] == "effect_sent"]
    if owner != frozen.pod_id:
        frozen, other = other, frozen
    frozen.freeze()
    # The gate opens while its owner is frozen: on waking up it confirms at once, and has no lease.
    (cluster.folder / "gate-pay").touch()
    status = other.wait_until_finished(run_id, 30)
    frozen.thaw()
    wait_until(lambda: ["1", "lost"] in of(cluster, "pay"), "the late confirmation is refused")
    assert other.wait_until_finished(run_id) == status
    assert (status["tasks"][0]["result"], status["tasks"][0]["lost"]) == ("payment 2", 1)
    assert effects(other, run_id, "pay") == [("charge", "confirmed", 2)]
    assert confirmations(other, run_id) == ["pay"]
