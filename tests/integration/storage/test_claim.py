"""claim: ready -> running, for up to `want` tasks that this pod can run; an idle pod is woken when there is more."""

from __future__ import annotations

import pytest

from storage.partition import Identity
from tests.support.expected import SKILLS, added, idle, numbered, pods, removed, run_row
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


def many(count: int) -> dict[str, str]:
    return {f"t{number}": "" for number in range(count)}


async def test_a_ready_task_becomes_the_pods(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    before = lab.raw()
    assert lab.shown(before) == pods("p1") | {
        "run:R1": run_row(2, ready=1),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -"),
        "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "lanes": {"default/task_a": "0 t"},
        "lane:default/task_a": {"R1 0 -": "0 t"},
    }
    [claim] = await pod.claim(1)
    assert lab.changes(before) == {
        "run:R1": {"ready": "1 → 0", "running": "0 → 1", "started": "+t"},
        "run:R1:tasks": {"0": "ready 0 0 0 t - - - - → running 1 0 T t t - p1 op1.0"},
        "run:R1:events": {"3": "+t started 0 1 p1"},
        "lanes": {"default/task_a": "-0 t"},
        "lane:default/task_a": {"R1 0 -": "-0 t"},
        "lease:op1.0": {"value": "+p1", "(until)": "+t+10000"},
        "claims:p1": {"op1.0 R1 0 - 0 default/task_a": "+t"},
        "reply:p1": {"value": "+op1 [OK [] [(op1.0 R1 0 - 0 default/task_a 1 0 T t)] 0]", "(until)": "+t+600000"},
    }
    assert (claim.run_id, claim.index, claim.attempt, claim.lost) == (run_id, 0, 1, 0)
    assert lab.narrator.instant(claim.fencing_token // 1000) == lab.narrator.instant(claim.ready_at_ms) == "t"


async def test_a_pod_that_finds_less_than_it_wants_is_noted_as_idle(lab: Lab) -> None:
    pod = lab.pod("p1")
    before = lab.raw()
    assert await pod.claim() == []
    assert lab.changes(before) == added(idle("p1"))


async def test_a_pod_that_finds_work_again_is_idle_no_more(lab: Lab) -> None:
    pod = lab.pod("p1")
    await pod.claim()
    await lab.create(dag(a="", b=""))
    lab.stand_idle(pod)
    assert len(await pod.claim(2)) == 2
    assert f"waiting:{SKILLS}" not in lab.shown()


async def test_an_idle_pod_is_woken_where_a_claim_leaves_something(lab: Lab) -> None:
    busy, free = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b=""))
    lab.stand_idle(free)
    await busy.claim(1)
    assert lab.take_inbox(free) == ["ready"]
    assert lab.shown().keys() & {"waiting", f"waiting:{SKILLS}"} == set()


async def test_the_same_operation_again_answers_the_same_claims_and_changes_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(**many(5)))
    op = lab.op()
    first = await pod.claim(3, op=op)
    assert len(first) == 3
    with lab.unchanged():
        assert await pod.claim(3, op=op) == first


async def test_claims_of_one_operation_have_ids_of_their_own(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(**many(300)) | {"name": "wide"})
    await pod.pass_everything_on()
    claims = await pod.claim(256)
    assert len({claim.claim_id for claim in claims}) == len({claim.index for claim in claims}) == 256
    assert all(lab.client.get(lab.key(f"lease:{claim.claim_id}")) == b"p1" for claim in claims)
    assert {claim.claim_id[30:] for claim in claims} == {f"{number:02x}" for number in range(256)}
    assert len(await pod.claim(256)) == 44


@pytest.mark.parametrize("want", [1, 64, 65, 200])
async def test_a_pod_gets_no_more_than_it_wants(lab: Lab, want: int) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(**many(201)))
    assert len(await pod.claim(want)) == want
    assert lab.shown()["run:R1"] == run_row(201, ready=201 - want, running=want, started="t")


async def test_a_pod_whose_capabilities_the_server_has_forgotten_claims_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    lab.client.delete(lab.key(f"capabilities:{pod.who.capabilities_digest}"))
    with lab.unchanged():
        settled = await lab.partition.claim(lab.op(), pod.who, 1)
    assert (settled.claims, settled.registered) == ([], False)


async def test_a_pod_that_has_been_reaped_claims_nothing_before_it_has_reported_again(lab: Lab) -> None:
    """A reaper looks only at the pods on its list: a claim of any other would stay for ever if that pod died."""
    judge, zombie = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    lab.bury(zombie)
    assert await judge.reap() is not None
    with lab.unchanged():
        settled = await lab.partition.claim(lab.op(), zombie.who, 1)
    assert (settled.claims, settled.registered) == ([], False)
    zombie.beat()
    assert len(await zombie.claim(1)) == 1


async def test_a_pod_that_never_reported_claims_nothing_though_others_can_do_the_same(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    stranger = Identity("p2", pod.who.capabilities_digest, 10_000)
    with lab.unchanged():
        assert not (await lab.partition.claim(lab.op(), stranger, 1)).registered


async def test_tasks_of_a_cancelled_run_leave_the_queue_and_are_never_claimed(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    await lab.cancel(run_id)
    before = lab.raw()
    assert lab.shown(before)["lane:default/task_a"] == {"R1 0 -": "0 t", "R1 1 -": "0 t"}
    assert await pod.claim() == []
    assert lab.changes(before) == added(idle("p1")) | removed(
        {"lanes": {"default/task_a": "0 t"}, "lane:default/task_a": {"R1 0 -": "0 t", "R1 1 -": "0 t"}}
    )


async def test_a_queue_entry_of_a_task_that_is_not_ready_is_dropped(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    await pod.claim()
    lab.client.zadd(lab.key("lane:default/task_a"), {f"{run_id} 0 -": 1, f"{run_id} 1 -": 2, "unknown 0 -": 3})
    lab.client.zadd(lab.key("lanes"), {"default/task_a": 1})
    before = lab.shown()
    assert await pod.claim() == []
    after = lab.shown()
    assert {key for key in before if before[key] != after.get(key)} == {"lanes", "lane:default/task_a"}
    assert "lanes" not in after


async def grown_tokens(lab: Lab, pod: LabPod, rounds: int) -> list[int]:
    tokens: list[int] = []
    for _ in range(rounds):
        claim = await pod.claim_one()
        tokens.append(claim.fencing_token)
        await pod.release(claim)
    return tokens


async def test_the_fencing_token_grows_with_each_claim_of_a_task(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    tokens = await grown_tokens(lab, pod, 5)
    assert tokens == sorted(set(tokens))


async def test_the_fencing_token_grows_by_one_where_the_last_one_is_ahead_of_the_clock(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    ahead = (lab.now_ms() + 3_600_000) * 1000 + 7
    lab.client.hset(lab.keys.tasks(run_id), "0", f"ready 0 0 {ahead} 0 - - - -")
    assert await grown_tokens(lab, pod, 3) == [ahead + 1, ahead + 2, ahead + 3]
