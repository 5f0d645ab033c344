"""pass_on tells a slice of an ended task's successors, once; sweep takes what an ended run has left in the ready queue, once."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from tests.support.expected import added, numbered, pods, run_row
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


async def half_passed(lab: Lab, pod: LabPod, outcome: str = "succeeded") -> str:
    """a → b0 … b3; a has ended, b0 and b1 know."""
    run_id = await lab.create(dag(a="", **{f"b{number}": "a" for number in range(4)}, c="b2"))
    await pod.commit(pod.end(await pod.claim_one(), outcome, budget=2))
    return run_id


async def test_the_rest_of_the_successors_become_ready(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod)
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p1")
    assert shown == pods("p1") | {
        "run:R1": run_row(6, ready=2, succeeded=1, started="t"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered(
            "t run_created", "t ready 0 - -", "t started 0 1 p1", "t succeeded 0 1 p1", "t ready 1 - -", "t ready 2 - -"
        ),
        "run:R1:tasks": {
            "0": "succeeded 1 0 T t t t p1 - true",
            "1": "ready 0 0 0 t - - - -",
            "2": "ready 0 0 0 t - - - -",
        },
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "lanes": {"default/task_a": "0 t"},
        "lane:default/task_a": {"R1 1 -": "0 t", "R1 2 -": "0 t"},
        "timers": {"edges R1 0 2": "t+2000"},
    }
    assert await pod.pass_on(run_id, "0", 2) == ("OK", False)
    assert lab.changes(before) == {
        "run:R1": {"ready": "2 → 4"},
        "run:R1:tasks": {"3": "+ready 0 0 0 t - - - -", "4": "+ready 0 0 0 t - - - -"},
        "run:R1:events": {"7": "+t ready 3 - -", "8": "+t ready 4 - -"},
        "lane:default/task_a": {"R1 3 -": "+0 t", "R1 4 -": "+0 t"},
        "timers": {"edges R1 0 2": "-t+2000"},
    }


async def test_a_slice_that_is_not_the_last_leaves_the_right_to_the_next(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod)
    before = lab.raw()
    assert await pod.pass_on(run_id, "0", 2, width=1) == ("OK", False)
    assert lab.changes(before)["timers"] == {"edges R1 0 2": "-t+2000", "edges R1 0 3": "+t+2000"}


async def test_the_end_of_a_failed_task_is_passed_on_as_a_failure(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod, "failed")
    before = lab.raw()
    assert await pod.pass_on(run_id, "0", 2) == ("OK", True)
    assert lab.changes(before) == {
        "run:R1": {"skipped": "2 → 4"},
        "run:R1:tasks": {"3": "+skipped 0 0 0 - - t - - upstream 0", "4": "+skipped 0 0 0 - - t - - upstream 0"},
        "run:R1:events": {"7": "+t skipped 3 - -", "8": "+t skipped 4 - -"},
        "timers": {"edges R1 0 2": "-t+2000", "edges R1 3 0": "+t", "edges R1 4 0": "+t"},
    }


async def test_a_slice_is_passed_on_once(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    run_id = await half_passed(lab, pod)
    await pod.pass_on(run_id, "0", 2)
    with lab.unchanged():
        assert await other.pass_on(run_id, "0", 2) == ("STALE", False)


async def test_a_slice_that_nobody_has_the_right_to_changes_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod)
    with lab.unchanged():
        assert await pod.pass_on(run_id, "0", 3) == ("STALE", False)
        assert await pod.pass_on(run_id, "1", 0) == ("STALE", False)
        assert await pod.pass_on(run_id, "root", 0) == ("STALE", False)


async def test_a_slice_of_an_ended_run_is_only_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod)
    await lab.cancel(run_id)
    before = lab.raw()
    assert await pod.pass_on(run_id, "0", 2) == ("TERMINAL", False)
    assert lab.changes(before) == {"timers": {"edges R1 0 2": "-t+2000"}}


async def test_a_slice_of_a_run_that_has_expired_is_only_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await half_passed(lab, pod)
    lab.client.delete(*lab.client.keys(lab.key(f"run:{run_id}*")))
    before = lab.raw()
    assert await pod.pass_on(run_id, "0", 2) == ("TERMINAL", False)
    assert lab.changes(before) == {"timers": {"edges R1 0 2": "-t+2000"}}


async def test_passing_on_wakes_idle_pods(lab: Lab) -> None:
    pod, free = lab.pod("p1"), lab.pod("p2")
    run_id = await half_passed(lab, pod)
    lab.stand_idle(free)
    await pod.pass_on(run_id, "0", 2)
    assert lab.take_inbox(free) == ["ready"]


async def swept(lab: Lab) -> tuple[str, str]:
    """A cancelled run with three ready tasks in two lanes, and another run's task in one of them."""
    cancelled = await lab.create(dag(a="", b={"allow_failure": True}, c={"task": "task_b"}, d="a"))
    other = await lab.create(dag(a={"priority": -1}))
    await lab.cancel(cancelled)
    return cancelled, other


ENTRIES = "0 - 0 default/task_a 1 a 0 default/task_a 2 - 0 default/task_b 3 - 0 default/task_a"


async def test_ready_tasks_of_an_ended_run_are_swept_out_of_their_lanes(lab: Lab) -> None:
    cancelled, _ = await swept(lab)
    before = lab.raw()
    assert {key: value for key, value in lab.shown(before).items() if key.startswith(("lane", "timers"))} == {
        "lanes": {"default/task_a": "0 t", "default/task_b": "0 t"},
        "lane:default/task_a": {"R1 0 -": "0 t", "R1 1 a": "0 t", "R2 0 -": "-1 t"},
        "lane:default/task_b": {"R1 2 -": "0 t"},
        "timers": {"sweep R1 0": "t", "forget R1": "t+3600000"},
    }
    assert lab.call("sweep", cancelled, 0, "", ENTRIES) == [b"OK", 3]
    assert lab.changes(before) == {
        "lanes": {"default/task_a": "0 t → -1 t", "default/task_b": "-0 t"},
        "lane:default/task_a": {"R1 0 -": "-0 t", "R1 1 a": "-0 t"},
        "lane:default/task_b": {"R1 2 -": "-0 t"},
        "timers": {"sweep R1 0": "-t"},
    }


async def test_sleeps_and_retries_of_an_ended_run_are_swept_out_of_the_timers(lab: Lab) -> None:
    """They would stand there until they are due, which may be years after the run is forgotten."""
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"priority": 7}, b={"allow_failure": True}, c=""))
    other = await lab.create(dag(a=""))
    for claim in await pod.claim(4):
        outcome = "sleep" if claim.run_id == other or claim.index == 1 else "retry"
        await pod.commit(pod.end(claim, outcome, "1", delay_ms=86_400_000))
    await lab.cancel(run_id)
    before = lab.raw()
    assert set(lab.shown(before)["timers"]) == {
        "retry R1 0 - 7 default/task_a", "sleep R1 1 a", "retry R1 2 - 0 default/task_a", "sleep R2 0 -", "forget R1", "sweep R1 0",
    }  # fmt: skip
    assert lab.call("sweep", run_id, 0, "", "0 - 7 default/task_a 1 a 0 default/task_a 2 - 0 default/task_a") == [b"OK", 0]
    assert set(lab.shown()["timers"]) == {"sleep R2 0 -", "forget R1"}
    assert lab.changes(before).keys() == {"timers"}


async def test_a_sweep_that_is_not_the_last_leaves_the_right_to_the_next(lab: Lab) -> None:
    cancelled, _ = await swept(lab)
    before = lab.raw()
    assert await lab.partition.sweep(cancelled, 0, 1, "0 - 0 default/task_a") == "OK"
    with lab.moment():
        assert await lab.partition.sweep(cancelled, 1, 2, "1 a 0 default/task_a") == "OK"
    assert lab.changes(before)["timers"] == {"sweep R1 0": "-t", **added({"": {"sweep R1 2": "t+2000"}})[""]}


async def test_a_slice_is_swept_once(lab: Lab) -> None:
    cancelled, _ = await swept(lab)
    lab.call("sweep", cancelled, 0, "", ENTRIES)
    with lab.unchanged():
        assert lab.call("sweep", cancelled, 0, "", ENTRIES) == [b"STALE"]


async def test_a_run_that_goes_on_is_not_swept(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    lab.client.zadd(lab.key("timers"), {f"sweep {run_id} 0": 1})
    with lab.unchanged():
        assert lab.call("sweep", run_id, 0, "", "0 - 0 default/task_a") == [b"RUNNING"]
    lab.client.delete(lab.key("timers"))


async def test_a_run_that_ended_with_nothing_ready_is_not_swept(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    await pod.claim()
    await lab.cancel(run_id)
    assert lab.shown()["timers"] == {"forget R1": "t+3600000"}
