"""fire_timers: what is due by the server's clock happens, once: retries, sleeps, slices to pass on or sweep, runs to forget."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from tests.support.expected import numbered, pods, run_row
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod

RETRY = "retry R1 0 a -3 default/task_a"


async def waits(lab: Lab, pod: LabPod, outcome: str, **task: object) -> str:
    """A run whose only ready task has gone to wait for 7 s, and then for nothing any more."""
    lab.narrator.distances.append(7_000)
    run_id = await lab.create(dag(a={"priority": -3, "allow_failure": True, **task}, b="a"))
    await pod.commit(pod.end(await pod.claim_one(), outcome, '"payload"', delay_ms=7_000))
    return run_id


async def test_a_retry_makes_its_task_ready_when_it_is_due(lab: Lab) -> None:
    pod = lab.pod("p1")
    await waits(lab, pod, "retry")
    lab.bring_forward("retry")
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p1")
    assert shown["timers"].keys() == {RETRY}
    assert {key: shown[key] for key in shown if key != "timers"} == pods("p1") | {
        "run:R1": run_row(2, waiting=1, started="t"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t started 0 1 p1", "t retry 0 1 p1"),
        "run:R1:attempts": {"0:1": 'failed t t p1 t "payload"'},
        "run:R1:tasks": {"0": 'waiting 1 0 T t t t+7000 p1 backoff "payload"'},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
    }
    assert await pod.fire() == []
    changed = lab.changes(before)
    assert changed.pop("timers").keys() == {RETRY}
    assert changed == {
        "run:R1": {"waiting": "1 → 0", "ready": "0 → 1"},
        "run:R1:tasks": {"0": 'waiting 1 0 T t t t+7000 p1 backoff "payload" → ready 1 0 T t - - - -'},
        "run:R1:events": {"5": "+t ready 0 - -"},
        "lanes": {"default/task_a": "+-3 t"},
        "lane:default/task_a": {"R1 0 a": "+-3 t"},
    }
    assert "timers" not in lab.shown()
    assert (await pod.claim_one()).attempt == 2


async def test_a_timer_does_not_fire_before_it_is_due_nor_twice(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    await waits(lab, pod, "retry")
    with lab.unchanged():
        slices, following, fired = await lab.partition.fire_timers()
    assert (slices, fired) == ([], 0)
    assert following is not None
    assert 5 < following <= 7
    lab.bring_forward("retry")
    await pod.fire()
    with lab.unchanged():
        assert await lab.partition.fire_timers() == ([], None, 0)
        assert await other.fire() == []


async def test_a_sleep_that_is_over_has_succeeded_and_its_successors_are_this_pods_to_tell(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await waits(lab, pod, "sleep")
    lab.bring_forward("sleep")
    before = lab.raw()
    assert await pod.fire() == [(run_id, "0", 0)]
    changed = lab.changes(before)
    assert changed.pop("timers")["edges R1 0 0"] == "+t+2000"
    assert changed == {
        "run:R1": {"waiting": "1 → 0", "succeeded": "0 → 1"},
        "run:R1:tasks": {"0": 'waiting 1 0 T t t t+7000 p1 sleep "payload" → succeeded 1 0 T t t t p1 - "payload"'},
        "run:R1:events": {"5": "+t succeeded 0 1 p1"},
    }
    assert await pod.pass_on(run_id, "0", 0) == ("OK", False)
    assert lab.states(run_id) == {"a": "succeeded", "b": "ready"}


async def test_a_sleep_that_ends_its_run_leaves_nothing_moving(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.commit(pod.end(await pod.claim_one(), "sleep", "1", delay_ms=1))
    lab.bring_forward("sleep")
    for slice_ in await pod.fire():
        assert await pod.pass_on(*slice_) == ("TERMINAL", False)
    assert lab.run_field(run_id, "state") == "succeeded"
    assert lab.shown()["timers"] == {"forget R1": "t+3600000"}


async def test_timers_of_a_cancelled_run_fire_into_the_void(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await waits(lab, pod, "retry")
    await lab.create(dag(a=""))
    await pod.commit(pod.end(await pod.claim_one(), "sleep", "1", delay_ms=1))
    for cancelled in (run_id, next(name for name in lab.graphs if name != run_id)):
        await lab.cancel(cancelled)
    lab.bring_forward("retry", "sleep")
    with lab.unchanged("timers"):
        assert {index for _, index, _ in await pod.fire()} == {"sweep"}
    assert set(lab.shown()["timers"]) == {"forget R1", "forget R2", "sweep R1 0", "sweep R2 0"}


async def test_timers_of_a_run_that_has_expired_fire_into_the_void(lab: Lab) -> None:
    pod = lab.pod("p1")
    await waits(lab, pod, "retry")
    lab.client.delete(*lab.client.keys(lab.key("run:*")))
    lab.bring_forward("retry")
    with lab.unchanged("timers"):
        assert await pod.fire() == []
    assert "timers" not in lab.shown()


async def test_a_timer_of_a_task_that_waits_for_something_else_is_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await waits(lab, pod, "retry")
    lab.client.zadd(lab.key("timers"), {f"sleep {run_id} 0 -": 1, f"retry {run_id} 1 - 0 default/task_a": 2})
    with lab.unchanged("timers"):
        assert await pod.fire() == []
    assert set(lab.shown()["timers"]) == {RETRY}


async def test_a_slice_is_given_to_whoever_fires_it_until_somebody_has_passed_it_on(lab: Lab) -> None:
    dead, heir = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(a="", b="a", c="a"))
    await dead.commit(dead.end(await dead.claim_one(), budget=1))
    lab.bring_forward("edges")
    before = lab.raw()
    assert await dead.fire() == [(run_id, "0", 1)]
    assert list(lab.changes(before)["timers"]) == ["edges R1 0 1"]
    assert lab.shown()["timers"] == {"edges R1 0 1": "t+2000"}
    lab.bring_forward("edges")
    assert await heir.fire() == [(run_id, "0", 1)]
    await heir.pass_on(run_id, "0", 1)
    lab.bring_forward("edges")
    assert await heir.fire() == []


async def test_a_sweep_is_given_to_whoever_fires_it_until_somebody_has_swept(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await lab.cancel(run_id)
    assert await pod.fire() == [(run_id, "sweep", 0)]
    assert lab.shown()["timers"]["sweep R1 0"] == "t+2000"
    assert await lab.partition.sweep(run_id, 0, None, "0 - 0 default/task_a") == "OK"
    lab.bring_forward("sweep")
    assert await pod.fire() == []


async def test_a_run_whose_time_is_over_is_forgotten(lab: Lab) -> None:
    pod = lab.pod("p1")
    first, second = await lab.create(dag(a="")), await lab.create(dag(a=""))
    await pod.succeed(*await pod.claim())
    lab.bring_forward(f"forget {first}")
    before = lab.raw()
    assert await pod.fire() == []
    changed = lab.changes(before)
    assert changed.pop("timers").keys() == {"forget R1"}
    assert changed == {"runs": {"R1": "-t"}}
    assert [run.run_id for run in (await lab.store.list_runs()).runs] == [second]


async def test_no_more_timers_fire_at_once_than_asked_for_and_the_rest_is_due_now(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(10)}))
    claims = await pod.claim()
    await pod.commit(*(pod.end(claim, "retry", delay_ms=1) for claim in claims))
    lab.bring_forward("retry")
    _, following, fired = await lab.partition.fire_timers(4)
    assert (following, fired) == (0.0, 4)
    assert (lab.run_field(run_id, "ready"), lab.run_field(run_id, "waiting")) == ("4", "6")


async def test_a_retry_wakes_an_idle_pod(lab: Lab) -> None:
    pod, free = lab.pod("p1"), lab.pod("p2")
    await waits(lab, pod, "retry")
    lab.stand_idle(free)
    lab.bring_forward("retry")
    await pod.fire()
    assert lab.take_inbox(free) == ["ready"]


async def test_a_timer_of_a_newer_version_is_left_to_it_and_holds_nothing_up(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await waits(lab, pod, "retry")
    lab.client.zadd(lab.key("timers"), {"deadline R9": 1})
    lab.bring_forward("retry")
    await pod.fire()
    assert lab.states(run_id)["a"] == "ready"
    assert lab.shown()["timers"] == {"deadline R9": "t+2000"}
    lab.client.delete(lab.key("timers"))
