"""What the campaign concludes from a history."""

from __future__ import annotations

import pytest

from peerflow.testing.history import History
from tests.chaos.campaign.recovery import Times, recoveries
from tests.chaos.campaign.report import missed, table, target_of
from tests.chaos.campaign.round import Tally


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    return History(clock=clock)


def start(history: History, task_id: str, pod_id: str, token: int) -> None:
    history.attempt_started(run_id="r", task_id=task_id, attempt=1, fencing_token=token, pod_id=pod_id)


def test_an_orphan_waits_from_the_fault_to_the_next_start_of_its_code(history: History, clock: Clock) -> None:
    start(history, "orphan", "p1", 1)
    start(history, "ended", "p1", 2)
    history.attempt_ended(run_id="r", task_id="ended", attempt=1, fencing_token=2, pod_id="p1", outcome="succeeded")
    start(history, "of another pod", "p2", 3)
    clock.now += 1
    history.fault("kill -9", pod_id="p1")
    clock.now += 2.5
    start(history, "orphan", "p2", 4)
    start(history, "ended", "p2", 5)
    assert recoveries(history.entries(), "kill -9") == [2.5]
    assert recoveries(history.entries(), "SIGTERM") == []


def test_a_pod_that_may_finish_what_runs_is_counted_from_the_end_of_that_time(history: History, clock: Clock) -> None:
    start(history, "orphan", "p1", 1)
    history.fault("SIGTERM", pod_id="p1", grace_seconds=3.0)
    clock.now += 3.25
    start(history, "orphan", "p2", 2)
    assert recoveries(history.entries(), "SIGTERM") == [0.25]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_shares_are_nearest_ranks(share: float, expected: float) -> None:
    assert Times(tuple(float(number) for number in range(1, 101))).at(share) == expected


def test_targets_depend_on_the_fault_and_the_lease() -> None:
    assert target_of("kill -9, TTL 10 s") == 11
    assert target_of("SIGTERM, TTL 10 s") == 1
    assert target_of("kill -9 under other faults") is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([2.9] * 100, []),
        ([3.1] * 100, ["kill -9, TTL 2 s: p99 is 3.10 s, the target 3 s"]),
        ([], ["kill -9, TTL 2 s: nothing was measured"]),
    ],
)
def test_a_target_that_is_missed_is_told(seconds: list[float], expected: list[str]) -> None:
    assert missed(Tally(recovered={"kill -9, TTL 2 s": seconds, "kill -9 under other faults": [99.0]})) == expected


def test_the_table_names_every_kind_of_fault_and_how_to_replay() -> None:
    tally = Tally(schedules=3, runs=1234, recovered={"SIGTERM, TTL 2 s": [0.1, 0.2]})
    tally.faults.update({"freeze": 2, "kill -9": 5})
    text = table(tally, seed=7, minutes=5, seconds=300)
    for part in ("1,234", "fault: freeze", "fault: kill -9", "**0**", "≤ 1 s", "CHAOS_SEED=7 CHAOS_MINUTES=5 make chaos"):
        assert part in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:9]}) == 1
