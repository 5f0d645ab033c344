"""A pod and Redis are alive, and the network between them is not (F7), or slow (F8)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.proxy import Cut, Delay, Direction
from tests.support.stage import QUEUES, Stage, staged, summary
from tests.support.waiting import wait_until

TTL_SECONDS = 2.0


def pass_seconds(seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, what, seconds + 5)


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param((), id="both ways"),
        pytest.param(("to_server",), id="towards Redis", marks=pytest.mark.long),
        pytest.param(("to_client",), id="towards the pod", marks=pytest.mark.long),
    ],
)
def test_a_cut_shorter_than_a_lease_takes_nothing(stage: Stage, directions: tuple[Direction, ...]) -> None:
    gate = f"short-{'-'.join(directions)}"
    run_id = stage.pods[0].post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": gate}}}})
    owner = stage.owner_of(run_id, "held")
    stage.proxies[owner].hold(*directions)
    pass_seconds(TTL_SECONDS / 4, "a quarter of a lease time")
    stage.heal()
    pass_seconds(1.5 * TTL_SECONDS, "reapers have had their chance")
    (stage.cluster.folder / gate).touch()
    status = stage.pods[1 - owner].wait_until_finished(run_id)
    assert summary(status) == {"held": ("succeeded", 1, 0)}
    assert stage.starts(run_id) == {"held": 1}


@pytest.mark.parametrize("directions", [(), ("to_server",)], ids=["both ways", "towards Redis"])
def test_a_pod_that_is_cut_off_for_longer_is_replaced_and_what_it_finishes_is_refused(
    stage: Stage, directions: tuple[Direction, ...]
) -> None:
    gate = f"long-{'-'.join(directions)}"
    run_id = stage.pods[0].post(
        {
            "tasks": {
                "held": {"task": "hold_first_attempt", "args": {"gate": gate}},
                "stopped": {"task": "hold_async", "args": {"gate": f"never-{gate}"}},
                "after": {"task": "work", "depends_on": ["held", "stopped"]},
            }
        }
    )
    owner = stage.owner_of(run_id, "held")
    wait_until(lambda: stage.starts(run_id)["stopped"] == 1, "the other task has started too")
    cut_off, other = stage.pods[owner], stage.pods[1 - owner]
    theirs = [task for task in ("held", "stopped") if stage.owner_of(run_id, task) == owner]
    stage.proxies[owner].hold(*directions)
    wait_until(lambda: all(stage.starts(run_id)[task] == 2 for task in theirs), "the other pod has taken over", 15)
    (stage.cluster.folder / gate).touch()
    (stage.cluster.folder / f"never-{gate}").touch() if "stopped" not in theirs else None
    status = other.wait_until_finished(run_id)
    assert not cut_off.is_ready()
    stage.heal()
    tasks = summary(status)
    assert {task: tasks[task] for task in theirs} == dict.fromkeys(theirs, ("succeeded", 2, 1))
    late = cut_off.logged
    wait_until(lambda: late("commit_refused") or late("lease_lost"), "what the zombie finished is refused, and reported")
    if "stopped" in theirs:
        stopped = wait_until(lambda: [line for line in stage.cluster.lines("cancelled") if line[0] == run_id], "its coroutine is cancelled")
        assert [line[2] for line in stopped] == ["1"]
    assert other.get(f"/workflow_status/{run_id}") == status
    assert [event["type"] for event in other.events(run_id) if event.get("task") == "held"].count("task_succeeded") == 1


def test_a_pod_that_redis_hears_and_that_hears_nothing_keeps_what_it_runs_and_hides_nothing(stage: Stage) -> None:
    """Its heartbeats arrive. What it claims without ever hearing of it goes back, uncharged, while it is still deaf."""
    deaf, hearing = stage.pods
    held = hearing.post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "deaf"}, "queue": QUEUES[0]}}})
    assert stage.owner_of(held, "held") == 0
    for script in ("claim", "heartbeat", "commit"):
        stage.proxies[0].on(script, Cut("after"), times=None)
    wait_until(lambda: not deaf.is_ready(), "the deaf pod notices", 15)
    eaten = hearing.post({"tasks": {"eaten": {"task": "work", "queue": QUEUES[0]}}})
    for state in ("running", "ready"):
        wait_until(lambda: hearing.get(f"/runs/{eaten}/tasks/eaten")["status"] == state, f"the task is {state}", 20)  # noqa: B023  (used at once)
    assert stage.starts(eaten) == {}
    (stage.cluster.folder / "deaf").touch()
    stage.heal()
    assert summary(hearing.wait_until_finished(held)) == {"held": ("succeeded", 1, 0)}
    assert summary(hearing.wait_until_finished(eaten)) == {"eaten": ("succeeded", 1, 0)}


def test_of_pods_that_were_cut_off_together_the_first_to_come_back_waits_for_the_others(stage: Stage) -> None:
    """As after a Redis that was frozen: what a pod had sent before arrives first, its heartbeats and its call to judge others."""
    run_id = stage.pods[0].post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "together"}, "queue": QUEUES[1]}}})
    assert stage.owner_of(run_id, "held") == 1
    for proxy in stage.proxies:
        proxy.hold()
    pass_seconds(2.5 * TTL_SECONDS, "two and a half lease times")
    stage.proxies[0].heal()
    wait_until(stage.pods[0].is_ready, "the first pod is ready again", 20)
    stage.heal()
    pass_seconds(1.5 * TTL_SECONDS, "reapers have had their chance")
    (stage.cluster.folder / "together").touch()
    status = stage.pods[0].wait_until_finished(run_id)
    assert summary(status) == {"held": ("succeeded", 1, 0)}
    assert stage.starts(run_id) == {"held": 1}


def test_a_blocked_read_that_hears_no_more_is_replaced(stage: Stage) -> None:
    """After a silent disconnect an idle pod hears of new tasks again (consumers of other systems have waited for ever)."""
    before = stage.proxies[1].counts["BLPOP"]
    for proxy in stage.proxies:
        proxy.cut_all()
    wait_until(lambda: stage.proxies[1].counts["BLPOP"] > before, "the pod reads anew")
    run_id = stage.pods[0].post({"tasks": {"only": {"task": "work", "queue": QUEUES[1]}}})
    assert stage.pods[0].wait_until_finished(run_id, 20)["status"] == "succeeded"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ttl_seconds", "delay"),
    [
        pytest.param(2, Delay(0.05, 0.05), id="50 ms", marks=pytest.mark.long),
        pytest.param(2, Delay(0.5), id="500 ms"),
        pytest.param(10, Delay(2.0, 0.2), id="2 s", marks=pytest.mark.long),
    ],
)
def test_a_slow_redis_takes_no_lease_and_meets_no_storm(tmp_path: Path, ttl_seconds: int, delay: Delay) -> None:
    """The pod beside it is not slow, and would take what it may."""
    with staged(tmp_path, lease_ttl_seconds=str(ttl_seconds)) as stage:
        task = {"task": "hold", "args": {"gate": "gate"}, "queue": QUEUES[0]}
        run_id = stage.pods[0].post({"tasks": {f"t{number}": task for number in range(6)}})
        wait_until(lambda: len(stage.starts(run_id)) == 6, "all tasks have started")
        stage.proxies[0].on(None, delay, times=None)
        before = stage.proxies[0].counts.total()
        pass_seconds(1.5 * ttl_seconds, "one and a half lease times")
        calls = stage.proxies[0].counts.total() - before
        stage.heal()
        (tmp_path / "gate").touch()
        status = stage.pods[1].wait_until_finished(run_id)
        assert set(summary(status).values()) == {("succeeded", 1, 0)}
        assert calls < 60
