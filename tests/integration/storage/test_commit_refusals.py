"""What commit refuses: claims that are not the task's current one, and runs that have ended."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import pytest

from storage.partition import Claim
from tests.support.expected import numbered
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


async def taken_over(lab: Lab) -> tuple[LabPod, Claim]:
    """A zombie, and its claim of a task that another pod runs by now."""
    zombie, other = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b="a"))
    claim = await zombie.claim_one()
    lab.bury(zombie)
    assert await other.reap() is not None
    assert (await other.claim_one()).attempt == 2
    zombie.beat()
    return zombie, claim


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "retry", "sleep"])
async def test_a_claim_that_another_pod_has_taken_over_commits_nothing(lab: Lab, outcome: str) -> None:
    zombie, claim = await taken_over(lab)
    with lab.unchanged("reply:p1"):
        settled = await zombie.commit(zombie.end(claim, outcome, delay_ms=1))
    assert settled.words == ["STALE"]


async def test_a_claim_whose_task_is_ready_again_commits_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    await pod.release(claim)
    with lab.unchanged("reply:p1"):
        assert await pod.succeed(claim) == ["STALE"]


async def test_a_claim_whose_task_this_pod_runs_again_commits_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    await pod.release(claim)
    again = await pod.claim_one()
    assert (again.index, again.attempt) == (claim.index, claim.attempt)
    with lab.unchanged("reply:p1"):
        assert await pod.succeed(claim) == ["STALE"]
    assert await pod.succeed(again) == ["OK"]


async def test_an_attempt_is_committed_once(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    claim = await pod.claim_one()
    end, contradiction = pod.end(claim), pod.end(claim, "failed")
    assert (await pod.commit(end, contradiction)).words == ["OK", "STALE"]
    with lab.unchanged("reply:p1"):
        assert (await pod.commit(contradiction)).words == ["STALE"]
    assert lab.states(run_id) == {"a": "succeeded", "b": "ready"}


async def test_a_claim_of_a_run_that_has_expired_commits_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a=""))
    claim = await pod.claim_one()
    lab.client.delete(*lab.client.keys(lab.key(f"run:{claim.run_id}*")))
    with lab.unchanged("reply:p1"):
        assert await pod.succeed(claim) == ["STALE"]


async def test_good_and_stale_attempts_in_one_call_are_told_apart(lab: Lab) -> None:
    zombie, claim = await taken_over(lab)
    await lab.create(dag(a=""))
    good = await zombie.claim_one()
    assert await zombie.succeed(claim, good) == ["STALE", "OK"]


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "retry", "sleep"])
async def test_a_commit_to_a_cancelled_run_only_tells_that_the_attempt_has_stopped(lab: Lab, outcome: str) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    claim = await pod.claim_one()
    await lab.cancel(run_id)
    before = lab.raw()
    assert (await pod.commit(pod.end(claim, outcome, delay_ms=1))).words == ["TERMINAL"]
    changed = lab.changes(before)
    assert changed.pop("reply:p1")["value"].endswith("op2 [OK [TERMINAL] [] 0 []]")
    assert changed == {
        "run:R1": {"running": "1 → 0"},
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0 → cancelled 1 0 T t t t p1 -"},
        "run:R1:events": {"5": "+t cancelled 0 1 p1"},
        "lease:op1.0": {"value": "-p1", "(until)": "-t+10000"},
        "claims:p1": {"op1.0 R1 0 - 0 default/task_a": "-t"},
    }


async def test_a_failure_that_stops_its_run_refuses_the_other_attempts_of_the_same_call(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(on_failure="stop", a="", b="", c="", d="a", e="b"))
    aside = await lab.create(dag(a=""))
    a, b, c, other_run = sorted(await pod.claim(4), key=lambda claim: (claim.run_id == aside, claim.index))
    before = lab.raw()
    ends = [pod.end(a), pod.end(b, "failed", '{"type":"E"}', line="E: no"), pod.end(c), pod.end(other_run)]
    assert (await pod.commit(*ends)).words == ["OK", "OK", "TERMINAL", "OK"]
    changed = lab.changes(before)
    assert changed["run:R1"] == {
        "running": "3 → 0", "succeeded": "0 → 1", "failed": "0 → 1", "ready": "0 → 1", "hard_failures": "0 → 1",
        "state": "running → failed", "finished": "+t", "reason": "+task failed and on_failure is stop", "(until)": "+t+3600000",
    }  # fmt: skip
    assert lab.events(run_id)[-5:] == [
        "succeeded 0 1 p1", "ready 3 - -", "failed 1 1 p1 E: no", "cancelled 2 1 p1", "run_failed task failed and on_failure is stop",
    ]  # fmt: skip
    assert lab.states(run_id) == {"a": "succeeded", "b": "failed", "c": "cancelled", "d": "ready", "e": "pending"}
    assert lab.run_field(aside, "state") == "succeeded"
    assert (lab.take_inbox(pod), lab.take_inbox(other)) == (["stop R1"], ["stop R1"])
    assert await other.claim() == []


async def test_a_stopped_run_refuses_what_other_pods_bring_later(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(on_failure="stop", a="", b=""))
    a, b = await pod.claim_one(), await other.claim_one()
    assert await pod.fail(a) == ["OK"]
    assert await other.succeed(b) == ["TERMINAL"]
    assert lab.states(run_id) == {"a": "failed", "b": "cancelled"}
    assert lab.run_field(run_id, "reason") == "task failed and on_failure is stop"


async def test_a_failure_that_is_allowed_does_not_stop_the_run(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(on_failure="stop", a={"allow_failure": True}, b=""))
    claims = await pod.claim()
    by_index = {claim.index: claim for claim in claims}
    assert await pod.fail(by_index[0]) == ["OK"]
    assert await pod.succeed(by_index[1]) == ["OK"]
    assert (lab.run_field(run_id, "state"), lab.run_field(run_id, "hard_failures")) == ("succeeded", "0")


async def test_a_commit_by_a_pod_that_is_unknown_settles_its_attempts_and_claims_nothing(lab: Lab) -> None:
    judge, zombie = lab.pod("p0", ["echo"]), lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    claim = await zombie.claim_one()
    lab.client.zrem(lab.keys.pods, "p1")
    settled = await zombie.commit(zombie.end(claim), want=1)
    assert (settled.words, settled.claims, settled.registered) == (["OK"], [], False)
    assert lab.states(run_id) == {"a": "succeeded", "b": "ready"}
    zombie.beat()
    assert len(await zombie.claim(1)) == 1
    assert lab.take_inbox(judge) == []


async def test_a_commit_that_claims_nothing_needs_no_known_pod(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b=""))
    claim = await pod.claim_one()
    lab.client.zrem(lab.keys.pods, "p1")
    settled = await pod.commit(pod.end(claim), want=0)
    assert (settled.words, settled.registered) == (["OK"], True)


async def test_a_commit_repeated_after_its_pod_was_reaped_gets_the_first_answer(lab: Lab) -> None:
    pod, judge = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b="a"))
    op, claim = lab.op(), await pod.claim_one()
    assert (await pod.commit(pod.end(claim), op=op)).words == ["OK"]
    lab.bury(pod)
    await judge.reap()
    with lab.unchanged():
        assert (await pod.commit(pod.end(claim), op=op)).words == ["OK"]


async def test_events_of_a_refused_commit_stay_dense(lab: Lab) -> None:
    zombie, claim = await taken_over(lab)
    events = lab.shown()["run:R1:events"]
    await zombie.succeed(claim)
    assert lab.shown()["run:R1:events"] == events == numbered(*events.values())
