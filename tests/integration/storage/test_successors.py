"""What the end of a task means for those after it: each edge counts once, a failure skips once, cascades end the run."""

from __future__ import annotations

import itertools

import pytest

from storage.partition import Claim
from tests.support.lab import Lab, dag, fan
from tests.support.lab_pod import LabPod

DIAMOND = dag(a="", b="a", c="a", d="b c")


async def by_task(lab: Lab, pod: LabPod) -> dict[str, Claim]:
    """Claims everything that is ready."""
    return {lab.graphs[claim.run_id].graph.tasks[claim.index].id: claim for claim in await pod.claim(256)}


async def run_out(lab: Lab, pod: LabPod, run_id: str, failing: set[str]) -> dict[str, str]:
    """Runs everything to its end; answers the tasks' states."""
    while lab.run_field(run_id, "state") == "running":
        claims = await by_task(lab, pod)
        ends = [pod.end(claim, "failed" if task_id in failing else "succeeded") for task_id, claim in claims.items()]
        await pod.commit(*ends)
        passed = await pod.pass_everything_on()
        assert claims or passed, f"nothing moves in {lab.states(run_id)}"
    return lab.states(run_id)


def counts(lab: Lab, run_id: str) -> dict[str, int]:
    return {state: int(lab.run_field(run_id, state) or 0) for state in ("ready", "running", "waiting", "succeeded", "failed", "skipped")}


@pytest.mark.parametrize("order", list(itertools.permutations("bcd")))
async def test_a_join_waits_for_its_last_predecessor_in_whatever_order_they_end(lab: Lab, order: tuple[str, ...]) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(b="", c="", d="", join="b c d"))
    claims = await by_task(lab, pod)
    for number, task_id in enumerate(order, 1):
        assert lab.states(run_id)["join"] == "pending"
        await pod.succeed(claims[task_id])
        assert lab.shown().get("run:R1:edges", {}) == ({"3": str(number)} if number < 3 else {})
    assert lab.states(run_id)["join"] == "ready"


@pytest.mark.parametrize("order", list(itertools.permutations("bcd")))
@pytest.mark.parametrize("failing", ["b", "bc", "bcd"])
async def test_a_join_is_skipped_once_by_the_first_failure(lab: Lab, order: tuple[str, ...], failing: str) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(b="", c="", d="", join="b c d"))
    claims = await by_task(lab, pod)
    for number, task_id in enumerate(order, 1):
        await pod.commit(pod.end(claims[task_id], "failed" if task_id in failing else "succeeded"))
        failed = sum(done in failing for done in order[:number])
        assert lab.states(run_id)["join"] == ("skipped" if failed else "pending")
        assert lab.shown().get("run:R1:edges", {}).get("3") == (str(number + 131_072 * failed) if number < 3 else None)
    assert lab.events(run_id).count("skipped 3 - -") == 1
    assert counts(lab, run_id) == {
        "ready": 0,
        "running": 0,
        "waiting": 0,
        "succeeded": 3 - len(failing),
        "failed": len(failing),
        "skipped": 1,
    }
    assert lab.run_field(run_id, "state") == "failed"


async def test_a_join_whose_predecessors_end_in_one_call_is_decided_in_it(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(b="", c="", d="", join="b c d"))
    before = lab.raw()
    claims = await pod.claim()
    await pod.succeed(*claims)
    assert lab.states(run_id)["join"] == "ready"
    assert "run:R1:edges" not in lab.changes(before)


@pytest.mark.parametrize(
    ("failing", "states"),
    [
        ("", {"a": "succeeded", "b": "succeeded", "c": "succeeded", "d": "succeeded"}),
        ("a", {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}),
        ("b", {"a": "succeeded", "b": "failed", "c": "succeeded", "d": "skipped"}),
        ("bc", {"a": "succeeded", "b": "failed", "c": "failed", "d": "skipped"}),
        ("d", {"a": "succeeded", "b": "succeeded", "c": "succeeded", "d": "failed"}),
    ],
)
async def test_a_diamond_comes_to_its_end_whatever_fails(lab: Lab, failing: str, states: dict[str, str]) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(DIAMOND)
    assert await run_out(lab, pod, run_id, set(failing)) == states
    assert lab.run_field(run_id, "state") == ("failed" if failing else "succeeded")
    assert lab.run_field(run_id, "hard_failures") == str(len(failing))


async def test_an_allowed_failure_skips_its_successors_and_the_run_succeeds(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"allow_failure": True}, b="a", c=""))
    assert await run_out(lab, pod, run_id, {"a"}) == {"a": "failed", "b": "skipped", "c": "succeeded"}
    assert (lab.run_field(run_id, "state"), lab.run_field(run_id, "hard_failures")) == ("succeeded", "0")


async def test_a_failure_that_is_not_allowed_fails_the_run_beside_one_that_is(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"allow_failure": True}, b=""))
    await run_out(lab, pod, run_id, {"a", "b"})
    assert (lab.run_field(run_id, "state"), lab.run_field(run_id, "reason")) == ("failed", "1 task(s) failed")


async def test_a_cascade_down_a_chain_takes_one_slice_a_task_and_ends_the_run(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(t0="", **{f"t{number}": f"t{number - 1}" for number in range(1, 20)}))
    await pod.fail(await pod.claim_one())
    assert counts(lab, run_id)["skipped"] == 1
    assert await pod.pass_everything_on() == 19
    assert lab.run_field(run_id, "state") == "failed"
    assert counts(lab, run_id) == {"ready": 0, "running": 0, "waiting": 0, "succeeded": 0, "failed": 1, "skipped": 19}


async def test_an_independent_branch_goes_on_after_a_failure(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a", c="", d="c"))
    claims = await by_task(lab, pod)
    await pod.fail(claims["a"])
    await pod.pass_everything_on()
    await pod.succeed(claims["c"])
    assert lab.states(run_id) == {"a": "failed", "b": "skipped", "c": "succeeded", "d": "ready"}
    assert lab.run_field(run_id, "state") == "running"


async def test_a_wide_failure_skips_every_successor_once_though_two_pods_pass_it_on(lab: Lab) -> None:
    left, right = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(fan(300))
    await left.fail(await left.claim_one())
    while lab.run_field(run_id, "state") == "running":
        lab.bring_forward("edges")
        slices = await right.fire()
        assert slices
        for slice_ in slices:
            assert (await left.pass_on(*slice_))[0] in {"OK", "TERMINAL"}
            assert (await right.pass_on(*slice_))[0] == "STALE"
    assert counts(lab, run_id) == {"ready": 0, "running": 0, "waiting": 0, "succeeded": 0, "failed": 1, "skipped": 301}
    skipped = [event for event in lab.events(run_id) if event.startswith("skipped ")]
    assert sorted(skipped) == sorted(f"skipped {index} - -" for index in range(1, 302))


async def test_a_wide_fan_out_is_carried_on_by_another_pod_from_where_the_first_one_died(lab: Lab) -> None:
    dead, heir = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(fan(700))
    await dead.succeed(await dead.claim_one())
    assert await dead.pass_on(run_id, "0", 250) == ("OK", False)
    assert lab.run_field(run_id, "ready") == "500"
    lab.bring_forward("edges")
    assert await heir.fire() == [(run_id, "0", 500)]
    with lab.unchanged():
        assert (await heir.pass_on(run_id, "0", 250))[0] == "STALE"
    assert await heir.pass_on(run_id, "0", 500) == ("OK", False)
    assert lab.run_field(run_id, "ready") == "700"
    assert await run_out(lab, heir, run_id, set()) == dict.fromkeys(lab.states(run_id), "succeeded")


async def test_a_task_is_skipped_once_though_the_count_of_its_failed_predecessors_was_lost(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="", x="a b c"))
    a, b, c = await pod.claim()
    await pod.fail(a)
    lab.client.delete(lab.key(f"run:{run_id}:edges"))
    await pod.fail(b)
    assert lab.run_field(run_id, "skipped") == "1"
    await pod.succeed(c)
    await pod.pass_everything_on()
    assert lab.states(run_id) == {"a": "failed", "b": "failed", "c": "succeeded", "x": "skipped"}
    assert lab.events(run_id).count("skipped 3 - -") == 1
