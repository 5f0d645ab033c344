"""Random schedules of several faults, kills, freezes, cuts, clock jumps and cancels; what failed once is kept and played for good."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.ledger import Ledger
from tests.faults.regressions import REGRESSIONS
from tests.faults.schedule import Schedule
from tests.faults.schedules import replay, run_schedules

COUNT = int(os.environ.get("SCHEDULES", "300"))
LONG = "SCHEDULES" in os.environ
SHORT_SECONDS = 90.0
FIRST = int(os.environ.get("SCHEDULES_SEED", "0"))


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600 if LONG else 600)
def test_no_random_schedule_breaks_a_promise(valkey_url: str, ledger: Ledger) -> None:
    """The first 300 seeds, as many of them as fit into 90 s; SCHEDULES=20000 plays so many, SCHEDULES_SEED says from which seed on."""
    totals = run_schedules(range(FIRST, FIRST + COUNT), valkey_url, within_seconds=None if LONG else SHORT_SECONDS)
    ledger.add_schedules(totals)
    assert not totals.failures, f"{totals}\n\n" + "\n\n".join(map(str, totals.failures))
    assert totals.schedules >= min(COUNT, 20)


@pytest.mark.parametrize("schedule", REGRESSIONS.values(), ids=list(REGRESSIONS))
def test_a_schedule_that_failed_once_passes(schedule: str, valkey_url: str) -> None:
    outcome = replay(schedule, valkey_url)
    assert outcome.problems == [], outcome.story


def test_a_schedule_is_read_as_it_was_printed() -> None:
    for seed in range(200):
        schedule = Schedule.random(seed)
        assert Schedule.parse(str(schedule)) == schedule
        assert Schedule.random(seed) == schedule


def test_schedules_are_as_large_as_is_said() -> None:
    schedules = [Schedule.random(seed) for seed in random.Random(1).sample(range(100_000), 500)]
    assert {schedule.pods for schedule in schedules} == {2, 3}
    assert (min(len(each.runs) for each in schedules), max(len(each.runs) for each in schedules)) == (1, 20)
    assert max(len(each.faults) + len(each.moves) for each in schedules) == 6
    assert {move.act for each in schedules for move in each.moves} == {"kill", "freeze", "cut", "jump", "cancel"}


def test_smaller_schedules_lack_one_thing_each_and_name_the_same_runs() -> None:
    schedule = Schedule.parse("2 pods: fan retry fan; p1 commit#1 lost; @5 kill 1; @9 cancel 2")
    assert [str(smaller) for smaller in schedule.smaller()] == [
        "2 pods: fan retry fan; @5 kill 1; @9 cancel 2",
        "2 pods: fan retry fan; p1 commit#1 lost; @9 cancel 2",
        "2 pods: fan retry fan; p1 commit#1 lost; @5 kill 1",
        "2 pods: fan retry; p1 commit#1 lost; @5 kill 1; @9 cancel 2",
    ]


@pytest.mark.parametrize("text", ["", "fan", "2 pods: fan; @5 sing 1", "2 pods: fan; p1 commit crash-after"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|values to unpack"):
        Schedule.parse(text)
