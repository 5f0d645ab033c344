"""release: running -> ready at once and uncharged, for claims that a pod gives back; leaving, it also signs off."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from tests.support.expected import idle, numbered, pods, removed, run_row
from tests.support.lab import Lab, dag

REF = "op1.0 R1 0 - 7 default/task_a"


async def test_a_claim_goes_back_to_the_ready_queue_uncharged(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a") | {"priority": 7})
    claim = await pod.claim_one()
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p1")
    assert shown == pods("p1") | {
        "run:R1": run_row(2, running=1, started="t", priority=7),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t started 0 1 p1"),
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "lease:op1.0": {"value": "p1", "(until)": "t+10000"},
        "claims:p1": {REF: "t"},
    }
    assert await pod.release(claim) == ["OK"]
    assert lab.changes(before) == {
        "run:R1": {"running": "1 → 0", "ready": "0 → 1"},
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → ready 0 0 T t - - - -"},
        "run:R1:events": {"4": "+t released 0 1 p1", "5": "+t ready 0 - -"},
        "lanes": {"default/task_a": "+7 t"},
        "lane:default/task_a": {"R1 0 -": "+7 t"},
        "lease:op1.0": {"value": "-p1", "(until)": "-t+10000"},
        "claims:p1": {REF: "-t"},
    }
    assert (await pod.claim_one()).attempt == 1


async def test_a_claim_is_released_once(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    assert await pod.release(claim, claim) == ["OK", "STALE"]
    with lab.unchanged():
        assert await pod.release(claim) == ["STALE"]


async def test_a_claim_that_another_pod_has_taken_over_is_not_released(lab: Lab) -> None:
    zombie, other = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    claim = await zombie.claim_one()
    lab.bury(zombie)
    await other.reap()
    await other.claim_one()
    with lab.unchanged():
        assert await zombie.release(claim) == ["STALE"]


async def test_a_claim_of_an_ended_run_is_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    claim = await pod.claim_one()
    await lab.cancel(run_id)
    before = lab.raw()
    assert await pod.release(claim) == ["OK"]
    assert lab.changes(before) == {
        "run:R1": {"running": "1 → 0"},
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → cancelled 1 0 T t t t p1 -"},
        "run:R1:events": {"5": "+t released 0 1 p1"},
        "lease:op1.0": {"value": "-p1", "(until)": "-t+10000"},
        "claims:p1": {"op1.0 R1 0 - 0 default/task_a": "-t"},
    }


async def test_a_pod_that_leaves_with_nothing_in_hand_signs_off(lab: Lab) -> None:
    stays, leaves = lab.pod("p1"), lab.pod("p2")
    await leaves.claim()
    lab.client.rpush(lab.keys.inbox("p2"), "ready")
    await lab.create(dag(a=""))
    claim = await leaves.claim_one()
    before = lab.raw()
    assert await leaves.release(claim, leave=True) == ["OK"]
    changed = lab.changes(before)
    assert changed["pods"] == {"p2": "-t+10000"}
    assert {"pod:p2", "reply:p2", "inbox:p2", "claims:p2"} <= changed.keys()
    assert not [key for key in lab.raw() if key.endswith(":p2")]
    assert [claim.index for claim in await stays.claim()] == [0]


async def test_a_pod_that_leaves_something_unreleased_stays_on_the_reapers_list(lab: Lab) -> None:
    judge, leaves = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b=""))
    first, _ = await leaves.claim(2)
    await leaves.release(first, leave=True)
    assert lab.shown()["pods"] == {"p1": "t+10000", "p2": "t+10000"}
    lab.bury(leaves)
    assert (await judge.reap() or ())[:2] == (1, 0)


async def test_a_pod_that_leaves_is_not_among_the_idle_any_more(lab: Lab) -> None:
    pod = lab.pod("p1")
    await pod.claim()
    before = lab.raw()
    assert await pod.release(leave=True) == []
    changed = lab.changes(before)
    assert changed["waiting:skills of 5"] == removed(idle("p1"))["waiting:skills of 5"]
    assert changed["pods"] == {"p1": "-t+10000"}


async def test_many_claims_are_released_in_several_calls_and_the_last_one_signs_off(lab: Lab) -> None:
    pod, free = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(150)}))
    claims = await pod.claim(150)
    lab.stand_idle(free)
    assert await pod.release(*claims, leave=True) == ["OK"] * 150
    assert lab.run_field(run_id, "ready") == "150"
    assert lab.shown()["pods"] == {"p2": "t+10000"}
    assert lab.take_inbox(free) == ["ready"]


async def test_a_released_run_that_expired_is_stale(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    lab.client.delete(*lab.client.keys(lab.key("run:*")))
    with lab.unchanged():
        assert await pod.release(claim) == ["STALE"]
