"""heartbeat: a living pod keeps what it holds, gets back leases that ran out, and learns what it lost."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import pytest

from storage.partition import Claim
from tests.support.expected import pods, run_row
from tests.support.lab import TTL_MS, Lab, dag
from tests.support.lab_pod import LabPod

REF = "op1.0 R1 0 - 0 default/task_a"


async def test_a_first_heartbeat_says_what_the_pod_is(lab: Lab) -> None:
    assert lab.shown() == {}
    pod = lab.pod("p1")
    assert lab.shown() == pods("p1")
    assert pod.beat().standing == "OK"


async def test_a_pod_that_was_never_seen_is_new(lab: Lab) -> None:
    pod = LabPod(lab, "p1", ["task_a"], ["default"], TTL_MS)
    pulse = pod.beat()
    assert (pulse.standing, pulse.lost, pulse.stop, pulse.revived, pulse.put_back) == ("NEW", [], [], 0, 0)
    assert abs(pulse.now_ms - lab.now_ms()) < 1_000
    assert lab.shown() == {"pods": {"p1": "t+10000"}}


async def test_a_heartbeat_extends_the_deadline_and_the_leases(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    with lab.moment():
        lab.client.pexpire(lab.key(f"lease:{claim.claim_id}"), 5_000)
    lab.set_deadline(pod, 5_000)
    lab.narrator.distances.append(5_000)
    with lab.moment():
        before = lab.raw()
    assert pod.beat(claim).standing == "OK"
    assert lab.changes(before) == {"pods": {"p1": "t+5000 → t+10000"}, "lease:op1.0": {"(until)": "t+5000 → t+10000"}}


async def test_a_lease_that_ran_out_comes_back_while_its_claim_is_current(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    lab.client.delete(lab.key(f"lease:{claim.claim_id}"))
    before = lab.raw()
    pulse = pod.beat(claim)
    assert (pulse.lost, pulse.revived) == ([], 1)
    assert lab.changes(before) == {"lease:op1.0": {"value": "+p1", "(until)": "+t+10000"}}


async def test_after_an_outage_longer_than_the_ttl_nothing_is_lost_and_nobody_is_to_be_judged(lab: Lab) -> None:
    crew = [lab.pod("p1"), lab.pod("p2")]
    await lab.create(dag(a="", b=""))
    claims = [await pod.claim_one() for pod in crew]
    lab.bury(*crew)
    assert await crew[0].reap() is None
    for pod, claim in zip(crew, claims, strict=True):
        pulse = pod.beat(claim)
        assert (pulse.standing, pulse.lost, pulse.revived) == ("GAP", [], 1)
        assert await pod.succeed(claim) == ["OK"]


async def test_a_deadline_far_ahead_is_a_gap_too(lab: Lab) -> None:
    pod = lab.pod("p1")
    lab.set_deadline(pod, 3_600_000)
    assert pod.beat().standing == "GAP"
    assert lab.shown()["pods"] == {"p1": "t+10000"}
    assert pod.beat().standing == "OK"


async def lost(lab: Lab, how: str) -> tuple[LabPod, Claim]:
    """A pod with a claim that is not its task's current one."""
    pod, other = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    match how:
        case "taken over":
            lab.bury(pod)
            await other.reap()
            await other.claim_one()
            pod.beat()
        case "ready again":
            await pod.release(claim)
        case "ended":
            await pod.succeed(claim)
        case _:
            lab.client.delete(*lab.client.keys(lab.key("run:*")), lab.keys.claims("p1"), lab.key(f"lease:{claim.claim_id}"))
    return pod, claim


@pytest.mark.parametrize("how", ["taken over", "ready again", "ended", "the run has expired"])
async def test_a_claim_that_is_not_current_is_told_as_lost_and_not_revived(lab: Lab, how: str) -> None:
    pod, claim = await lost(lab, how)
    with lab.unchanged("pods"):
        pulse = pod.beat(claim)
    assert (pulse.lost, pulse.stop, pulse.revived) == ([claim.claim_id], [], 0)


async def test_a_claim_of_an_ended_run_is_kept_until_it_has_stopped(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    a, b = await pod.claim()
    await lab.cancel(run_id)
    with lab.unchanged("pods", *(f"lease:{claim.claim_id}" for claim in (a, b))):
        pulse = pod.beat(a, b)
    assert (pulse.lost, pulse.stop) == ([], [a.claim_id, b.claim_id])


async def test_a_claim_that_its_pod_never_heard_of_goes_back_uncharged(lab: Lab) -> None:
    pod, free = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a=""))
    op = lab.op()
    await pod.claim(1, op=op)
    lab.stand_idle(free)
    before = lab.raw()
    assert pod.beat(unheard_before_ms=lab.now_ms() + 1).put_back == 1
    changed = lab.changes(before)
    assert lab.take_inbox(free) == ["ready"]
    for key in [key for key in changed if key.startswith(("waiting", "inbox"))]:
        del changed[key]
    assert changed == {
        "run:R1": {"running": "1 → 0", "ready": "0 → 1"},
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → ready 0 0 T t - - - -"},
        "run:R1:events": {"4": "+t unheard 0 1 p1", "5": "+t ready 0 - -"},
        "lanes": {"default/task_a": "+0 t"},
        "lane:default/task_a": {"R1 0 -": "+0 t"},
        "lease:op1.0": {"value": "-p1", "(until)": "-t+10000"},
        "claims:p1": {REF: "-t"},
        "reply:p1": {"value": f"op1 [OK [] [({REF} 1 0 T t)] 0] → op1 [OK [] [] 0]"},
    }


async def test_the_operation_whose_claims_went_back_answers_without_them_from_then_on(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="", c=""))
    op = lab.op()
    assert len(await pod.claim(3, op=op)) == 3
    assert pod.beat(unheard_before_ms=lab.now_ms() + 1).put_back == 3
    with lab.unchanged():
        assert await pod.claim(3, op=op) == []
    assert {claim.attempt for claim in await pod.claim(3)} == {1}


async def test_a_commit_whose_claims_went_back_still_answers_what_it_committed(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a"))
    op, end = lab.op(), pod.end(await pod.claim_one())
    assert len((await pod.commit(end, want=1, op=op)).claims) == 1
    assert pod.beat(unheard_before_ms=lab.now_ms() + 1).put_back == 1
    settled = await pod.commit(end, want=1, op=op)
    assert (settled.words, settled.claims) == (["OK"], [])


async def test_claims_that_are_listed_or_too_young_are_not_unheard_of(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b=""))
    listed, young = await pod.claim()
    lab.client.zadd(lab.keys.claims("p1"), {listed.ref: 1_000})
    with lab.unchanged("pods", f"lease:{listed.claim_id}"):
        assert pod.beat(listed, unheard_before_ms=2_000).put_back == 0
    lab.client.zadd(lab.keys.claims("p1"), {young.ref: 1_999})
    assert pod.beat(listed, unheard_before_ms=2_000).put_back == 1


async def test_an_unheard_claim_of_an_ended_run_is_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.claim_one()
    await lab.cancel(run_id)
    pod.beat(unheard_before_ms=lab.now_ms() + 1)
    assert lab.states(run_id) == {"a": "cancelled"}
    assert lab.run_field(run_id, "running") == "0"
    assert lab.shown().keys() & {"claims:p1", "lease:op1.0", "lanes"} == set()


async def test_a_leftover_of_a_run_that_has_expired_is_struck_off(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    await pod.claim_one()
    lab.client.delete(*lab.client.keys(lab.key("run:*")))
    assert pod.beat(unheard_before_ms=lab.now_ms() + 1).put_back == 0
    assert lab.shown().keys() & {"claims:p1", "lease:op1.0"} == set()


@pytest.mark.parametrize("held", [500, 501, 1_200])
async def test_a_pod_with_very_many_claims_gets_unheard_ones_back_too(lab: Lab, held: int) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(**{f"t{number}": "" for number in range(held + 5)}))
    await pod.pass_everything_on()
    claims = [claim for _ in range(-(-held // 256)) for claim in await pod.claim(256)][:held]
    kept = {claim.claim_id for claim in claims}
    unheard = int(lab.run_field(claims[0].run_id, "running") or 0) - held + len(await pod.claim(5))
    for key in kept:
        lab.client.pexpire(lab.key(f"lease:{key}"), 100)
    pulse = pod.beat(*claims, unheard_before_ms=lab.now_ms() + 1)
    assert (pulse.put_back, pulse.lost, pulse.stop) == (unheard, [], [])
    assert lab.client.zcard(lab.keys.claims("p1")) == held
    assert all(int(lab.client.pttl(lab.key(f"lease:{claim}"))) > 5_000 for claim in kept)
    assert pod.beat(*claims, unheard_before_ms=lab.now_ms() + 1).put_back == 0
    assert lab.shown()["run:R1"] == run_row(held + 5, ready=5, running=held, started="t")


async def test_a_heartbeat_reports_over_all_its_calls(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(600)}))
    await pod.pass_everything_on()
    claims = [claim for _ in range(3) for claim in await pod.claim(256)]
    await pod.succeed(claims[0], claims[-1])
    lab.client.delete(lab.key(f"lease:{claims[1].claim_id}"), lab.key(f"lease:{claims[-2].claim_id}"))
    pulse = pod.beat(*claims)
    assert (pulse.standing, pulse.lost, pulse.revived) == ("OK", [claims[0].claim_id, claims[-1].claim_id], 2)
    await lab.cancel(run_id)
    assert pod.beat(*claims[1:-1]).stop == [claim.claim_id for claim in claims[1:-1]]


async def test_a_connection_that_was_dropped_is_opened_again(lab: Lab) -> None:
    pod = lab.pod("p1")
    pod.connection.disconnect()
    assert pod.beat().standing == "OK"
    assert lab.shown() == pods("p1")
