"""Timers that fire early, twice or as something else: S16."""

from __future__ import annotations

from typing import Any

import pytest

from engine.states import TaskState
from peerflow.testing.invariants.timers import shortest_wait_ms
from tests.support.fake_run import FakeRun
from tests.support.lab import dag
from tests.support.planting import found

RETRIED = {"retry": {"max_attempts": 3, "wait": {"initial": 10, "multiplier": 2, "max": 15, "jitter": 0}}}
SLEEP: dict[str, Any] = {"task": "sleep", "args": {"seconds": 5}}


@pytest.mark.parametrize(("failures", "shortest_ms"), [(1, 10_000), (2, 15_000)])
def test_s16_a_retry_fires_too_early(failures: int, shortest_ms: int) -> None:
    def last_waits(ms: int) -> set[str]:
        run = FakeRun(dag(a=RETRIED))
        for number in range(1, failures + 1):
            run.claim("a")
            run.retry("a")
            run.fire("a", ms if number == failures else 60_000)
        return found(run, live=True)

    assert last_waits(shortest_ms) == set()
    assert last_waits(shortest_ms - 1) == {"S16"}


def test_a_wait_that_grows_beyond_all_numbers_is_as_long_as_the_longest() -> None:
    run = FakeRun(dag(a={"retry": {"max_attempts": 1_000, "wait": {"initial": 1, "max": 15, "multiplier": 1_000}}}))
    run.emit("task_retry", "a")
    assert [shortest_wait_ms(run.graph.tasks[0], run.events[-1], failures) for failures in (1, 2, 500)] == [1_000, 15_000, 15_000]


def test_s16_a_sleep_ends_too_early() -> None:
    def wakes_after(ms: int, task: dict[str, Any]) -> set[str]:
        run = FakeRun(dag(a=task))
        run.claim("a")
        run.sleep("a")
        run.fire("a", ms)
        return found(run)

    assert wakes_after(5_000, SLEEP) == set()
    assert wakes_after(4_999, SLEEP) == {"S16"}
    assert wakes_after(0, {"task": "echo"}) == set()
    assert wakes_after(0, {"task": "echo", "args": {"seconds": 5}}) == set(), "what a user's function does with its seconds is not known"


def test_s16_a_retry_fires_twice() -> None:
    run = FakeRun(dag(a=RETRIED))
    run.claim("a")
    run.retry("a")
    run.fire("a")
    run.emit("task_ready", "a")
    assert found(run, live=True) == {"S16"}


@pytest.mark.parametrize("kind", ["sleep", "retry"])
def test_s16_a_task_that_waits_starts_before_its_timer_has_fired(kind: str) -> None:
    run = FakeRun(dag(a={**SLEEP, **RETRIED}))
    run.claim("a")
    getattr(run, kind)("a")
    run.tasks["a"].state = TaskState.READY
    run.claim("a")
    assert found(run, live=True) == {"S16"}


def test_s16_a_task_that_sleeps_becomes_ready_as_if_it_were_to_be_tried_again() -> None:
    run = FakeRun(dag(a=SLEEP))
    run.claim("a")
    run.sleep("a")
    run.tasks["a"].slept = False
    run.fire("a")
    assert found(run, live=True) == {"S16"}
