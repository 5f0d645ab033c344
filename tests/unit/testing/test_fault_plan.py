"""A fault plan is printed, read again and made from a seed."""

from __future__ import annotations

import pytest

from peerflow.testing.faults import ERRORS, Fault, FaultKind, FaultPlan, Point

PLAN = "p1 commit#3 crash-after; * claim#1 error READONLY; p2 *#10 pause-before; p1 heartbeat#2 pause-after 0.5"


def test_a_plan_that_was_printed_is_read_again() -> None:
    plan = FaultPlan.parse(PLAN)
    assert str(plan) == PLAN
    assert FaultPlan.parse(str(plan)) == plan
    assert FaultPlan.parse("") == FaultPlan()
    assert plan != FaultPlan()


@pytest.mark.parametrize("text", ["p1 commit crash-after", "p1 commit#3", "p1 commit#3 nothing", "p1 commit#x lost"])
def test_a_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no fault|is not a valid FaultKind"):
        FaultPlan.parse(text)


def test_a_call_meets_the_fault_of_the_narrowest_point() -> None:
    plan = FaultPlan.parse("* commit#1 lost; p1 commit#1 unknown")
    mine, anybodys = Point("p1", "commit", 1), Point("*", "commit", 1)
    assert plan.at([mine, anybodys]) == Fault(FaultKind.UNKNOWN)
    assert plan.at([Point("p2", "commit", 1), anybodys]) == Fault(FaultKind.LOST)
    assert plan.at([Point("p2", "commit", 1)]) is None
    assert FaultPlan().at([mine]) is None


def test_one_seed_gives_one_plan() -> None:
    def plan(seed: int) -> str:
        return str(FaultPlan.random(seed, pods=["p1", "p2"], calls={"claim": 5, "commit": 3}, faults=3))

    assert plan(7) == plan(7)
    assert len({plan(seed) for seed in range(50)}) > 40


def test_a_random_plan_stays_within_what_it_was_given() -> None:
    for seed in range(100):
        plan = FaultPlan.random(seed, pods=["p1"], calls={"claim": 2}, faults=2, kinds=[FaultKind.ERROR])
        for point, fault in plan.faults.items():
            assert point in {Point("p1", "claim", 1), Point("p1", "claim", 2)}
            assert fault.kind is FaultKind.ERROR
            assert fault.code in ERRORS
