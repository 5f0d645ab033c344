"""A call to Redis, or its answer, is lost several times in a row (F2, F3): each task runs once, and nobody is charged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.proxy import Cut, Late
from tests.support.stage import Stage, staged, summary
from tests.support.waiting import wait_until

DIAMOND: dict[str, Any] = {
    "tasks": {
        "start": {"task": "work"},
        "left": {"task": "work", "depends_on": ["start"]},
        "right": {"task": "fails_once", "depends_on": ["start"], "retry": {"max_attempts": 2, "wait": {"initial": 0.1}}},
        "join": {"task": "work", "depends_on": ["left", "right"]},
    }
}
WIDE: dict[str, Any] = {"tasks": {f"t{number}": {"task": "work", "args": {"seconds": 0}} for number in range(300)}}
"""More roots than one call makes ready: the rest is passed on."""
SCRIPTS = ["create_run", "claim", "commit", "heartbeat", "fire_timers", pytest.param("pass_on", marks=pytest.mark.long)]
HOLD = {"task": "hold_first_attempt", "args": {"gate": "gate"}}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_calls_that_are_lost_three_times_change_nothing(stage: Stage, script: str, when: Literal["before", "after"]) -> None:
    # Three heartbeats in a row are 0.75 s: with what a busy machine adds, two are as many as a lease of 2 s surely survives.
    rules = stage.on(script, Cut(when), times=2 if script == "heartbeat" else 3)
    run_id = stage.pods[0].post(WIDE if script == "pass_on" else DIAMOND)
    status = stage.pods[1].wait_until_finished(run_id)
    assert status["status"] == "succeeded"
    wait_until(lambda: sum(rule.hits for rule in rules), f"{script} was lost")
    expected = {task["id"]: 2 if task["id"] == "right" else 1 for task in status["tasks"]}
    assert stage.starts(run_id) == expected
    assert summary(status) == {task: ("succeeded", attempts, 0) for task, attempts in expected.items()}


def test_a_task_whose_claim_is_answered_into_the_void_twice_runs_once_and_soon(stage: Stage) -> None:
    """BullMQ 6.7.0 fails such a job for ever, without having run it."""
    rule = stage.proxies[1].on("claim", Cut("after"), times=2)
    posted_at = time.monotonic()
    run_id = stage.pods[0].post({"tasks": {"only": {"task": "work", "queue": "second", "args": {"seconds": 0}}}})
    status = stage.pods[0].wait_until_finished(run_id)
    assert time.monotonic() - posted_at < 5
    assert rule.hits == 2
    assert summary(status) == {"only": ("succeeded", 1, 0)}
    assert stage.starts(run_id) == {"only": 1}


def test_a_cancellation_whose_answer_is_lost_is_made_once(stage: Stage) -> None:
    run_id = stage.pods[0].post({"tasks": {"held": {**HOLD, "queue": "second"}, "after": {"task": "work", "depends_on": ["held"]}}})
    stage.owner_of(run_id, "held")
    rule = stage.proxies[0].on("cancel", Cut("after"), times=2)
    answer = stage.pods[0].http.post(f"/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert rule.hits == 2
    status = stage.pods[1].get(f"/workflow_status/{run_id}")
    assert {task["status"] for task in status["tasks"]} == {"cancelled"}
    (stage.cluster.folder / "gate").touch()
    assert [event["type"] for event in stage.pods[1].events(run_id)].count("run_cancelled") == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_claims_that_a_leaving_pod_gives_back_and_a_dead_pod_held_are_put_back_once(stage: Stage, when: Literal["before", "after"]) -> None:
    queue = f"left-{when}"
    leaving, dying = stage.cluster.start(2, redis_url=stage.proxies[0].url, queues=queue, concurrency="4", grace_seconds="1")
    task = {"task": "hold_first_attempt", "args": {"gate": f"gate-{when}"}, "queue": queue}
    run_id = stage.pods[0].post({"tasks": {f"held{number}": task for number in range(8)}})
    wait_until(lambda: len(stage.starts(run_id)) == 8, "all tasks have started")
    rules = [*stage.on("reap", Cut(when), times=2), stage.proxies[0].on("release", Cut(when), times=1)]
    held = {line[1]: line[4] for line in stage.cluster.lines("attempts") if line[0] == run_id}
    dying_id = dying.pod_id
    stage.cluster.start(1, redis_url=stage.proxies[0].url, queues=queue)
    dying.kill()
    leaving.terminate()
    wait_until(lambda: set(stage.starts(run_id).values()) == {2}, "every task has started once more", 30)
    (stage.cluster.folder / f"gate-{when}").touch()
    status = stage.pods[0].wait_until_finished(run_id)
    assert rules[0].hits + rules[1].hits >= 2
    assert rules[2].hits == 1
    assert {task: lost for task, (_, _, lost) in summary(status).items()} == {task: int(pod == dying_id) for task, pod in held.items()}


def test_a_claim_that_arrives_long_after_its_pod_gave_it_up_costs_no_attempt(tmp_path: Path) -> None:
    with staged(tmp_path, concurrency="2") as stage:
        pod, proxy = stage.pods[0], stage.proxies[0]
        late = proxy.on("claim", Late(), times=1)
        first: list[str] = []
        for number in (1, 2):
            first.append(pod.post({"tasks": {"slot": {"task": "hold", "args": {"gate": "gate"}, "queue": "first"}}}))
            wait_until(lambda: stage.starts(first[-1]), f"slot {number} is taken")
        assert late.hits == 1
        second = pod.post({"tasks": {f"ready{number}": {"task": "work", "queue": "first"} for number in range(2)}})
        assert proxy.deliver_late() == 1
        states = {task["status"] for task in pod.get(f"/workflow_status/{second}")["tasks"]}
        assert states == {"running"}, "the late claim has taken them, for a pod that does not know"
        wait_until(lambda: {task["status"] for task in pod.get(f"/workflow_status/{second}")["tasks"]} == {"ready"}, "they go back", 20)
        (tmp_path / "gate").touch()
        for run_id in (*first, second):
            status = pod.wait_until_finished(run_id)
            assert set(summary(status).values()) == {("succeeded", 1, 0)}
            assert set(stage.starts(run_id).values()) == {1}


@pytest.mark.parametrize("path", ["/runs/{}", "/workflow_status/{}", "/runs/{}/events", "/pods"])
def test_a_reader_whose_connections_to_redis_break_one_after_the_other_gets_its_answer(stage: Stage, path: str) -> None:
    """As after a restart of Redis behind something that keeps its clients' connections open: each costs the call that uses it first."""
    run_id = stage.pods[0].post({"tasks": {"only": {"task": "work", "args": {"seconds": 0}}}})
    stage.pods[0].wait_until_finished(run_id)
    reads = [stage.proxies[0].on(name, Cut("before"), times=2) for name in ("HMGET", "EXEC", "LRANGE", "ZRANGE", "HGET")]
    assert stage.pods[0].http.get(path.format(run_id)).status_code == 200
    assert sum(rule.hits for rule in reads) >= 2
