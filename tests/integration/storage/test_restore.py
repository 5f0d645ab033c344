"""restore: what is lost of a task's place in the indexes is put back, and said; what is where it belongs is left alone."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json

import pytest

from storage.audits import Restored
from tests.support.expected import pods
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


async def restore(lab: Lab, run_id: str, start: int = 0) -> Restored:
    with lab.moment():
        restored = await lab.partition.restore(run_id, lab.graphs[run_id], start, 10_000)
    assert restored is not None
    return restored


async def in_every_state(lab: Lab, pod: LabPod) -> str:
    """A run with a task in each state: a succeeded, b failed, c skipped, d waiting, e running, f ready, g pending, h asleep."""
    lab.narrator.distances.append(7_000)
    run_id = await lab.create(
        dag(
            a={"priority": 9}, b={"priority": 8}, c="b", d={"priority": 7, "allow_failure": True}, e={"priority": -5, "depends_on": ["a"]},
            f={"priority": -100}, g="e f", h={"priority": 6},
        )
    )  # fmt: skip
    a, b, d, h = await pod.claim(4)
    await pod.commit(
        pod.end(a), pod.end(b, "failed", '{"type":"E"}'), pod.end(d, "retry", '"x"', delay_ms=7_000), pod.end(h, "sleep", delay_ms=7_000)
    )
    await pod.pass_everything_on()
    await pod.claim_one()
    assert set(lab.states(run_id).values()) == {"succeeded", "failed", "skipped", "waiting", "running", "ready", "pending"}
    return run_id


async def test_a_run_from_which_nothing_is_lost_stays_as_it_is(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await in_every_state(lab, pod)
    with lab.unchanged():
        restored = await restore(lab, run_id)
    assert restored == Restored("sfkwxrpw", {}, restored.before, [], [1, 1, 2, 1, 1, 1, 1])
    assert restored.before == len(lab.events(run_id))


@pytest.mark.parametrize(
    ("key", "member", "what"),
    [
        ("lane:default/task_a", "{run} 5 -", {"5 queue"}),
        ("lane:default/task_a", None, {"5 queue"}),
        ("lanes", None, {"lane default/task_a"}),
        ("claims:p1", "{claim} {run} 4 - -5 default/task_a", {"4 claim"}),
        ("pods", "p1", {"4 claim"}),
        ("timers", "retry {run} 3 a 7 default/task_a", {"3 timer"}),
        ("timers", "sleep {run} 7 -", {"7 timer"}),
        ("timers", None, {"3 timer", "7 timer"}),
    ],
)
async def test_what_was_taken_is_put_back_just_as_it_was(lab: Lab, key: str, member: str | None, what: set[str]) -> None:
    pod = lab.pod("p1")
    run_id = await in_every_state(lab, pod)
    lab.client.delete(lab.key("waiting"), lab.key(f"waiting:{pod.who.capabilities_digest}"))
    whole = lab.raw()
    if member is None:
        lab.client.delete(lab.key(key))
    else:
        claim = (lab.record(run_id, 4) or "").split()[8]
        assert lab.client.zrem(lab.key(key), member.format(run=run_id, claim=claim)) == 1
    taken = lab.raw()
    assert set((await restore(lab, run_id)).put_back) == what
    changed = lab.changes(whole)
    # The score of an entry is an instant of the call: as it was, in words.
    assert set(changed) == {"run:R1:events", "counters"}
    assert changed["counters"] == {"limbo_repairs": f"+{len(what)}"}
    told = {line.removeprefix("+t repaired ").removeprefix("+t run_repaired ") for line in changed["run:R1:events"].values()}
    assert {" ".join([words.split()[0], words.split()[-1]]) for words in told} == what
    assert lab.changes(taken).keys() >= {key}
    with lab.unchanged():
        assert (await restore(lab, run_id)).put_back == []


async def test_a_claim_of_a_pod_that_nobody_lists_is_left_to_the_reaper_who_charges_it(lab: Lab) -> None:
    judge, dead = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(a=""))
    claim = await dead.claim_one()
    lab.client.delete(lab.keys.claims("p2"), lab.key(f"lease:{claim.claim_id}"))
    lab.client.zrem(lab.keys.pods, "p2")
    assert await judge.reap() == (0, 0, pytest.approx(10, abs=1), [])
    await restore(lab, run_id)
    assert lab.shown()["pods"] == pods("p1", "p2")["pods"]
    lab.bury(dead)
    assert (await judge.reap() or ())[:2] == (1, 0)
    assert (await judge.claim_one()).lost == 1


async def test_a_claim_that_a_living_pod_holds_stays_its_own(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    claim = await pod.claim_one()
    lab.client.delete(lab.keys.claims("p1"))
    await restore(lab, run_id)
    pulse = pod.beat(claim, unheard_before_ms=lab.now_ms() + 1)
    assert (pulse.lost, pulse.put_back) == ([], 0)
    assert await pod.succeed(claim) == ["OK"]


async def test_a_claim_that_its_living_pod_never_heard_of_goes_back_uncharged(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.claim_one()
    lab.client.delete(lab.keys.claims("p1"))
    await restore(lab, run_id)
    assert pod.beat(unheard_before_ms=lab.now_ms() + 1).put_back == 1
    claim = await pod.claim_one()
    assert (claim.run_id, claim.attempt, claim.lost) == (run_id, 1, 0)


async def test_a_task_that_waits_for_what_this_version_does_not_know_is_left_alone(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.commit(pod.end(await pod.claim_one(), "sleep", delay_ms=7_000))
    record = (lab.record(run_id, 0) or "").replace(" sleep", " signal")
    lab.client.hset(lab.keys.tasks(run_id), "0", record)
    lab.client.delete(lab.key("timers"))
    with lab.unchanged():
        assert (await restore(lab, run_id)).states == "w"


async def test_a_record_that_makes_no_sense_is_told_and_left_alone(lab: Lab) -> None:
    run_id = await lab.create(dag(a="", b=""))
    lab.client.hset(lab.keys.tasks(run_id), "1", "broken")
    with lab.unchanged():
        assert (await restore(lab, run_id)).states == "r?"


async def test_edge_counts_of_tasks_that_have_not_started_are_told(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"priority": 5}, b="", x="a b", y={"depends_on": ["a", "b"]}))
    await pod.fail(await pod.claim_one())
    assert (await restore(lab, run_id)).edges == {2: 131_073, 3: 131_073}


async def test_a_run_that_is_not_running_is_left_alone(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    await lab.cancel(run_id)
    with lab.unchanged():
        assert await lab.partition.restore(run_id, lab.graphs[run_id], 0, 10_000) is None
        assert await lab.partition.restore("01890000-0000-7000-8000-000000000001", lab.graphs[run_id], 0, 10_000) is None


async def test_large_records_are_read_in_several_calls(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(20)}, last="t0"))
    result = json.dumps("x" * 250_000)
    for claim in await pod.claim():
        if claim.index:
            await pod.commit(pod.end(claim, payload=result))
    assert (await restore(lab, run_id)).states == "xsssss"
    assert (await restore(lab, run_id, 6)).states == "sssss"
    assert (await restore(lab, run_id, 16)).states == "ssssp"


async def test_an_idle_pod_is_woken_for_what_was_put_back(lab: Lab) -> None:
    free = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    lab.stand_idle(free)
    lab.client.delete(lab.key("lanes"))
    await restore(lab, run_id)
    assert lab.take_inbox(free) == ["ready"]
    lab.stand_idle(free)
    lab.client.delete(lab.key("lane:default/task_a"))
    await restore(lab, run_id)
    assert lab.take_inbox(free) == ["ready"]
    assert await free.claim_one()
