"""commit: running -> succeeded | failed | waiting, successors decided, and more tasks claimed in the same call."""

from __future__ import annotations

import pytest

from tests.support.expected import added, idle, numbered, pods, removed, run_row
from tests.support.key_dump import Shown
from tests.support.lab import Lab, dag

REF = "op1.0 R1 0 - 0 default/task_a"
LEASE_GONE = removed({"lease:op1.0": {"value": "p1", "(until)": "t+10000"}, "claims:p1": {REF: "t"}})
ENDED = ["run:R1", "run:R1:tasks", "run:R1:events", "run:R1:graph"]


def reply(*, old: str, new: str) -> Shown:
    return {"reply:p1": {"value": f"{old} → {new}"}}


def expiring(*keys: str) -> Shown:
    return {key: {"(until)": "+t+3600000"} for key in keys}


def merged(*parts: Shown) -> Shown:
    whole: Shown = {}
    for part in parts:
        for key, fields in part.items():
            whole[key] = whole.get(key, {}) | fields
    return whole


FIRST = f"op1 [OK [] [({REF} 1 0 T t)] 0]"


async def test_a_success_makes_the_successor_ready(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a"))
    claim = await pod.claim_one()
    before = lab.raw()
    assert lab.shown(before) == pods("p1") | {
        "run:R1": run_row(2, running=1, started="t"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t started 0 1 p1"),
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "lease:op1.0": {"value": "p1", "(until)": "t+10000"},
        "claims:p1": {REF: "t"},
        "reply:p1": {"value": FIRST, "(until)": "t+600000"},
    }
    assert (await pod.commit(pod.end(claim, payload='{"x": 1}'))).words == ["OK"]
    assert lab.changes(before) == merged(
        LEASE_GONE,
        reply(old=FIRST, new="op2 [OK [OK] [] 0 []]"),
        added({"lanes": {"default/task_a": "0 t"}, "lane:default/task_a": {"R1 1 -": "0 t"}}),
        {
            "run:R1": {"running": "1 → 0", "succeeded": "0 → 1", "ready": "0 → 1"},
            "run:R1:tasks": {
                "0": 'running 1 0 T t t - p1 op1.0 → succeeded 1 0 T t t t p1 - {"x": 1}',
                "1": "+ready 0 0 0 t - - - -",
            },
            "run:R1:events": {"4": "+t succeeded 0 1 p1", "5": "+t ready 1 - -"},
        },
    )


async def test_the_last_success_ends_the_run_and_lets_its_keys_go_after_the_retention(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""), key="k")
    claim = await pod.claim_one()
    before = lab.raw()
    assert await pod.succeed(claim) == ["OK"]
    assert lab.changes(before) == merged(
        LEASE_GONE,
        reply(old=FIRST, new="op2 [OK [OK] [] 0 [(R1 succeeded)]]"),
        expiring(*ENDED, "idempotency:digest of k"),
        {
            "run:R1": {"running": "1 → 0", "succeeded": "0 → 1", "state": "running → succeeded", "finished": "+t", "reason": "+"},
            "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → succeeded 1 0 T t t t p1 - true"},
            "run:R1:events": {"4": "+t succeeded 0 1 p1", "5": "+t run_succeeded"},
            "timers": {"forget R1": "+t+3600000"},
            "audits": {"R1": "-t"},
        },
    )


async def test_a_failure_skips_the_successor_whose_own_are_due_as_a_slice(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a", c="b"))
    claim = await pod.claim_one()
    before = lab.raw()
    settled = await pod.commit(pod.end(claim, "failed", '{"type":"E"}', line="E: no way"))
    assert (settled.words, settled.cascades) == (["OK"], True)
    assert lab.changes(before) == merged(
        LEASE_GONE,
        reply(old=FIRST, new="op2 [OK [OK] [] 1 []]"),
        {
            "run:R1": {"running": "1 → 0", "failed": "0 → 1", "skipped": "0 → 1", "hard_failures": "0 → 1"},
            "run:R1:tasks": {
                "0": 'running 1 0 T t t - p1 op1.0 → failed 1 0 T t t t p1 - {"type":"E"}',
                "1": "+skipped 0 0 0 - - t - - upstream 0",
            },
            "run:R1:events": {"4": "+t failed 0 1 p1 E: no way", "5": "+t skipped 1 - -"},
            "timers": {"edges R1 1 0": "+t"},
        },
    )


async def test_a_failure_that_is_tried_again_waits_without_lease_and_is_logged(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a={"priority": -3}))
    claim = await pod.claim_one()
    lab.narrator.distances.append(7_000)
    before = lab.raw()
    end = pod.end(claim, "retry", '{"type":"E"}', line="E: no", delay_ms=7_000)
    assert (await pod.commit(end)).words == ["OK"]
    ref = "op1.0 R1 0 - -3 default/task_a"
    assert lab.changes(before) == merged(
        removed({"lease:op1.0": {"value": "p1", "(until)": "t+10000"}, "claims:p1": {ref: "t"}}),
        reply(old=f"op1 [OK [] [({ref} 1 0 T t)] 0]", new="op2 [OK [OK] [] 0 []]"),
        {
            "run:R1": {"running": "1 → 0", "waiting": "0 → 1"},
            "run:R1:tasks": {"0": 'running 1 0 T t t - p1 op1.0 → waiting 1 0 T t t t+7000 p1 backoff {"type":"E"}'},
            "run:R1:attempts": {"0:1": '+failed t t p1 t {"type":"E"}'},
            "run:R1:events": {"4": "+t retry 0 1 p1 E: no"},
            "timers": {"retry R1 0 - -3 default/task_a": "+t+7000"},
        },
    )


async def test_a_sleep_waits_with_its_result(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a={"allow_failure": True}))
    claim = await pod.claim_one()
    lab.narrator.distances.append(7_000)
    before = lab.raw()
    assert (await pod.commit(pod.end(claim, "sleep", "42", delay_ms=7_000))).words == ["OK"]
    ref = "op1.0 R1 0 a 0 default/task_a"
    assert lab.changes(before) == merged(
        removed({"lease:op1.0": {"value": "p1", "(until)": "t+10000"}, "claims:p1": {ref: "t"}}),
        reply(old=f"op1 [OK [] [({ref} 1 0 T t)] 0]", new="op2 [OK [OK] [] 0 []]"),
        {
            "run:R1": {"running": "1 → 0", "waiting": "0 → 1"},
            "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → waiting 1 0 T t t t+7000 p1 sleep 42"},
            "run:R1:events": {"4": "+t sleep 0 1 p1"},
            "timers": {"sleep R1 0 a": "+t+7000"},
        },
    )


async def test_one_call_commits_and_claims_what_it_has_made_ready(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a"))
    claim = await pod.claim_one()
    before = lab.raw()
    settled = await pod.commit(pod.end(claim), want=2)
    ref = "op2.0 R1 1 - 0 default/task_a"
    assert lab.changes(before) == merged(
        LEASE_GONE,
        added({"lease:op2.0": {"value": "p1", "(until)": "t+10000"}, "claims:p1": {ref: "t"}}),
        added(idle("p1")),
        reply(old=FIRST, new=f"op2 [OK [OK] [({ref} 1 0 T t)] 0 []]"),
        {
            "run:R1": {"succeeded": "0 → 1"},
            "run:R1:tasks": {
                "0": "running 1 0 T t t - p1 op1.0 → succeeded 1 0 T t t t p1 - true",
                "1": "+running 1 0 T t t - p1 op2.0",
            },
            "run:R1:events": {"4": "+t succeeded 0 1 p1", "5": "+t ready 1 - -", "6": "+t started 1 1 p1"},
        },
    )
    assert [claimed.index for claimed in settled.claims] == [1]


@pytest.mark.parametrize("want", [0, 5])
async def test_the_same_operation_again_answers_the_same_and_changes_nothing(lab: Lab, want: int) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a", c="a"))
    op, claim = lab.op(), await pod.claim_one()
    first = await pod.commit(pod.end(claim), want=want, op=op)
    assert (first.words, len(first.claims)) == (["OK"], min(want, 2))
    with lab.unchanged():
        assert await pod.commit(pod.end(claim), want=want, op=op) == first
    assert lab.run_field(run_id, "succeeded") == "1"


async def test_a_wide_fan_out_is_passed_on_in_part_and_the_rest_is_a_slice_of_this_pods(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", **{f"b{number}": "a" for number in range(10)}))
    claim = await pod.claim_one()
    await pod.commit(pod.end(claim, budget=4))
    assert lab.run_field(run_id, "ready") == "4"
    assert lab.shown()["timers"] == {"edges R1 0 4": "t+2000"}


async def test_runs_that_end_in_one_call_end_each_for_itself(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_ids = [await lab.create(dag(a="")) for _ in range(3)]
    claims = await pod.claim()
    ends = [pod.end(claim, "succeeded" if claim.run_id != run_ids[1] else "failed") for claim in claims]
    assert (await pod.commit(*ends)).words == ["OK"] * 3
    assert [lab.run_field(run_id, "state") for run_id in run_ids] == ["succeeded", "failed", "succeeded"]
    assert [lab.run_field(run_id, "reason") for run_id in run_ids] == ["", "1 task(s) failed", ""]
    assert lab.shown()["timers"] == {"forget R1": "t+3600000", "forget R2": "t+3600000", "forget R3": "t+3600000"}
