"""reap: tasks of a pod whose deadline has passed, and whose lease is gone, are charged as lost and become ready again."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json

import pytest

from storage.partition import Claim
from tests.support.expected import numbered, pods, run_row
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod

REF = "op1.0 R1 0 - 0 default/task_a"


async def orphaned(lab: Lab) -> tuple[LabPod, LabPod, Claim]:
    """A living pod, a dead one, and its claim."""
    judge, dead = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b="a"))
    claim = await dead.claim_one()
    lab.bury(dead)
    return judge, dead, claim


async def lose(lab: Lab, judge: LabPod, times: int, *, max_lost: int = 3) -> None:
    """A pod dies with the only ready task, again and again."""
    for _ in range(times):
        dead = lab.pod("p2")
        await dead.claim_one()
        lab.bury(dead)
        assert await judge.reap(max_lost=max_lost) is not None


async def test_an_orphan_becomes_ready_again_and_nothing_is_left_of_its_pod(lab: Lab) -> None:
    judge, dead, _ = await orphaned(lab)
    buried = lab.now_ms()
    lab.client.zadd(lab.keys.pods, {"p2": 1})
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p2")
    assert shown == pods("p1", "p2") | {
        "pods": {"p1": "t+10000", "p2": "?1"},
        "run:R1": run_row(2, running=1, started="t"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t started 0 1 p2"),
        "run:R1:tasks": {"0": "running 1 0 T t t - p2 op1.0"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "claims:p2": {REF: "t"},
    }
    asked = lab.now_ms()
    answer = await judge.reap()
    assert answer is not None
    assert answer[:2] == (1, 0)
    assert 0 < answer[2] <= 10 - (asked - buried) / 1000
    assert lab.changes(before) == {
        "pods": {"p2": "-?1"},
        "pod:p2": {"value": '-{"host":"h"}', "(until)": "-t+120000"},
        "claims:p2": {REF: "-t"},
        "reply:p2": {"value": f"op1 [OK [] [({REF} 1 0 T t)] 0] → op1 [OK [] [] 0]"},
        "run:R1": {"running": "1 → 0", "ready": "0 → 1"},
        "run:R1:tasks": {"0": "running 1 0 T t t - p2 op1.0 → ready 1 1 T t - - - -"},
        "run:R1:attempts": {"0:1": "+lost t t p2 t"},
        "run:R1:events": {"4": "+t lost 0 1 p2", "5": "+t ready 0 - -"},
        "lanes": {"default/task_a": "+0 t"},
        "lane:default/task_a": {"R1 0 -": "+0 t"},
    }
    assert dead.beat().standing == "NEW"


async def test_a_pod_that_comes_back_and_repeats_a_claim_gets_the_first_answer_without_what_it_lost(lab: Lab) -> None:
    judge, frozen = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    op = lab.op()
    assert len(await frozen.claim(op=op)) == 1
    lab.bury(frozen)
    assert (await judge.reap() or ())[:2] == (1, 0)
    assert frozen.beat(say=True).standing == "NEW"
    with lab.unchanged():
        assert await frozen.claim(op=op) == []
    assert len(await frozen.claim()) == 1


async def test_a_pod_that_comes_back_and_repeats_a_commit_learns_that_it_was_accepted(lab: Lab) -> None:
    judge, frozen = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b="", c=""))
    ends, op = [frozen.end(claim) for claim in await frozen.claim(2)], lab.op()
    settled = await frozen.commit(*ends, want=1, op=op)
    assert (settled.words, len(settled.claims)) == (["OK", "OK"], 1)
    lab.bury(frozen)
    assert (await judge.reap() or ())[:2] == (1, 0)
    frozen.beat(say=True)
    with lab.unchanged():
        again = await frozen.commit(*ends, want=1, op=op)
    assert (again.words, again.claims) == (["OK", "OK"], [])


async def test_the_answer_says_whose_tasks_they_were_and_how_long_ago_the_deadline_passed(lab: Lab) -> None:
    judge = lab.pod("p1", ttl_ms=60_000)
    early, late = lab.pod("p2"), lab.pod("p3")
    await lab.create(dag(a="", b={"task": "task_b", "queue": "default"}, c=""))
    await early.claim(2)
    await late.claim(1)
    for pod, ago_ms in ((early, 7_000), (late, 3_000)):
        lab.bury(pod)
        lab.client.zadd(lab.keys.pods, {pod.name: lab.now_ms() - ago_ms})
    answer = await judge.reap()
    assert answer is not None
    assert answer[:2] == (3, 0)
    assert sorted(lane for lane, _ in answer.orphans) == ["default/task_a", "default/task_a", "default/task_b"]
    assert sorted(int(seconds) for _, seconds in answer.orphans) == [3, 7, 7]


async def test_what_fails_for_good_is_among_the_orphans_and_what_had_ended_is_not(lab: Lab) -> None:
    judge, dead, _ = await orphaned(lab)
    answer = await judge.reap(max_lost=0)
    assert answer is not None
    assert answer[:2] == (0, 1)
    assert [lane for lane, _ in answer.orphans] == ["default/task_a"]
    run_id = await lab.create(dag(a=""))
    dead.beat(say=True)
    await dead.claim_one()
    await lab.cancel(run_id)
    lab.bury(dead)
    assert (await judge.reap() or ())[:2] == (0, 0)
    assert (await judge.reap() or (0, 0, 0, None))[3] == []


async def test_a_pod_is_reaped_once(lab: Lab) -> None:
    judge, dead, _ = await orphaned(lab)
    other = lab.pod("p3")
    assert (await judge.reap() or ())[:2] == (1, 0)
    with lab.unchanged():
        assert (await other.reap() or ())[:2] == (0, 0)
        assert (await judge.reap() or ())[:2] == (0, 0)
    assert dead.beat().standing == "NEW"


@pytest.mark.parametrize("deadline", ["past", "missing"])
async def test_a_pod_whose_own_deadline_has_passed_judges_nobody(lab: Lab, deadline: str) -> None:
    judge, _, _ = await orphaned(lab)
    if deadline == "past":
        lab.set_deadline(judge, -1)
    else:
        lab.client.zrem(lab.keys.pods, "p1")
    with lab.unchanged():
        assert await judge.reap() is None


async def test_a_pod_that_has_heard_nothing_for_two_thirds_of_a_lease_judges_nobody(lab: Lab) -> None:
    """Its deadline may be fresh from a heartbeat that waited in a buffer, as this call did, while those of others still wait."""
    judge, _, _ = await orphaned(lab)
    late_ms = judge.who.ttl_ms * 2 // 3
    with lab.unchanged():
        assert await judge.reap(heard_ago_ms=late_ms + 100) is None
    assert (await judge.reap(heard_ago_ms=late_ms - 500) or ())[:1] == (1,)


async def test_a_pod_within_its_deadline_is_left_alone(lab: Lab) -> None:
    judge, alive = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    claim = await alive.claim_one()
    lab.client.delete(lab.key(f"lease:{claim.claim_id}"))
    with lab.unchanged():
        assert (await judge.reap() or ())[:2] == (0, 0)


async def test_a_claim_whose_lease_is_still_there_is_left_and_its_pod_looked_at_again_when_it_ends(lab: Lab) -> None:
    judge, silent = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b=""))
    gone, held = await silent.claim()
    lab.client.zadd(lab.keys.pods, {"p2": 1})
    lab.client.delete(lab.key(f"lease:{gone.claim_id}"))
    lab.client.pexpire(lab.key(f"lease:{held.claim_id}"), 60_000)
    answer = await judge.reap()
    assert answer is not None
    assert answer[:2] == (1, 0)
    assert 0 < answer[2] <= 10
    assert lab.client.zrange(lab.keys.claims("p2"), 0, -1) == [held.ref.encode()]
    deadline = lab.client.zscore(lab.keys.pods, "p2")
    assert 30_000 < float(str(deadline)) - lab.now_ms() <= 60_000
    assert await silent.succeed(held) == ["OK"]


async def test_a_clock_that_jumped_back_leaves_no_lease_or_deadline_far_in_the_future(lab: Lab) -> None:
    judge, ahead = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(a=""))
    claim = await ahead.claim_one()
    lab.set_deadline(ahead, 3_600_000)
    lab.client.pexpire(lab.key(f"lease:{claim.claim_id}"), 3_600_000)
    before = lab.raw()
    assert (await judge.reap() or ())[:2] == (0, 0)
    assert lab.changes(before) == {"pods": {"p2": "t+3600000 → t+10000"}}
    lab.set_deadline(ahead, -1)
    assert (await judge.reap() or ())[:2] == (1, 0)
    assert lab.states(run_id) == {"a": "ready"}
    assert not lab.client.exists(lab.key(f"lease:{claim.claim_id}"))


async def test_its_own_deadline_far_ahead_is_set_right_too(lab: Lab) -> None:
    judge = lab.pod("p1")
    lab.set_deadline(judge, 3_600_000)
    answer = await judge.reap()
    assert answer is not None
    assert answer[2] <= 10
    assert lab.shown()["pods"] == {"p1": "t+10000"}


async def test_a_claim_that_is_not_current_is_struck_off_and_its_task_left_alone(lab: Lab) -> None:
    judge, dead, claim = await orphaned(lab)
    lab.client.zrem(lab.keys.claims("p2"), claim.ref)
    stale = f"{'f' * 32} {claim.run_id} 0 - 0 default/task_a"
    unknown = f"{'e' * 32} 01890000-0000-7000-8000-00000000000f 0 - 0 default/task_a"
    lab.client.zadd(lab.keys.claims(dead.name), {stale: 1, unknown: 2})
    with lab.unchanged("pods", "pod:p2", "claims:p2", "reply:p2"):
        assert (await judge.reap() or ())[:2] == (0, 0)
    assert not lab.client.exists(lab.keys.claims("p2"))
    assert lab.record(claim.run_id, 0) is not None


async def test_a_task_that_is_lost_too_often_fails_and_its_successors_are_decided(lab: Lab) -> None:
    judge = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    await lose(lab, judge, 3)
    assert lab.states(run_id) == {"a": "ready", "b": "pending"}
    dead = lab.pod("p2")
    assert (await dead.claim_one()).lost == 3
    lab.bury(dead)
    assert (await judge.reap() or ())[:2] == (0, 1)
    assert lab.states(run_id) == {"a": "failed", "b": "pending"}
    record = lab.record(run_id, 0) or ""
    assert json.loads(record.partition("\n")[2]) == {
        "type": "Lost",
        "message": "the pod that ran this task died or was cut off 4 times; max_lost is 3",
        "traceback": None,
    }
    assert lab.events(run_id)[-2:] == ["lost 0 4 p2", "failed 0 4 p2 Lost"]
    assert lab.shown()["timers"] == {"edges R1 0 0": "t"}
    assert await judge.pass_everything_on() == 2
    assert lab.states(run_id) == {"a": "failed", "b": "skipped"}
    assert lab.run_field(run_id, "state") == "failed"


async def test_a_task_may_be_allowed_no_loss_at_all(lab: Lab) -> None:
    judge = lab.pod("p1")
    run_id = await lab.create(dag(a={"allow_failure": True}))
    await lose(lab, judge, 1, max_lost=0)
    assert (lab.states(run_id), lab.run_field(run_id, "state")) == ({"a": "failed"}, "succeeded")


async def test_a_lost_task_that_fails_stops_a_run_that_wants_it_so(lab: Lab) -> None:
    judge = lab.pod("p1")
    run_id = await lab.create(dag(on_failure="stop", a="", b="a"))
    await lose(lab, judge, 1, max_lost=0)
    assert lab.run_field(run_id, "state") == "failed"
    assert lab.take_inbox(judge) == ["stop R1"]
    assert set(lab.shown()["timers"]) == {"forget R1"}


async def test_losses_are_not_charged_as_attempts_that_failed(lab: Lab) -> None:
    judge = lab.pod("p1")
    await lab.create(dag(a=""))
    await lose(lab, judge, 2)
    claim = await judge.claim_one()
    assert (claim.attempt, claim.lost) == (3, 2)


async def test_an_orphan_of_an_ended_run_is_struck_off(lab: Lab) -> None:
    judge, _, claim = await orphaned(lab)
    await lab.cancel(claim.run_id)
    assert (await judge.reap() or ())[:2] == (0, 0)
    assert lab.states(claim.run_id) == {"a": "cancelled", "b": "pending"}
    assert lab.run_field(claim.run_id, "running") == "0"


async def test_many_orphans_are_put_back_in_bounded_calls_and_each_once(lab: Lab) -> None:
    judge, crew = lab.pod("p1"), [lab.pod(f"d{number:02}") for number in range(12)]
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(120)}))
    for pod in crew:
        assert len(await pod.claim(10)) == 10
    lab.bury(*crew)
    put_back: list[int] = []
    while lab.run_field(run_id, "running") != "0":
        answer = await judge.reap(limit=25)
        assert answer is not None
        put_back.append(answer[0])
    assert put_back == [25, 25, 25, 25, 20]
    assert lab.run_field(run_id, "ready") == "120"
    await judge.reap()
    assert lab.shown()["pods"] == {"p1": "t+10000"}
    assert not [key for key in lab.raw() if key.startswith(("claims:", "lease:", "pod:d"))]


async def test_reaping_wakes_idle_pods_and_says_when_to_look_again(lab: Lab) -> None:
    judge, _, _ = await orphaned(lab)
    free = lab.pod("p3")
    lab.stand_idle(free)
    await judge.reap()
    assert lab.take_inbox(free) == ["ready"]
