"""Attempts that are charged wrongly, runs that end wrongly: S6, S9 and S12 are each broken, and that one alone is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.states import RunState, TaskState
from tests.support.fake_run import FakeRun
from tests.support.lab import dag
from tests.support.planting import RETRIED, finished, found, with_run, with_task


def test_s6_a_released_attempt_is_charged() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a")
    run.give_back("a")
    run.tasks["a"].attempts = 1
    run.claim("a")
    run.succeed("a")
    assert found(run) == {"S6"}


def test_s6_a_task_fails_more_often_than_it_may() -> None:
    run = FakeRun(dag(a=RETRIED))
    for _ in range(2):
        run.claim("a")
        run.retry("a")
        run.fire("a")
    run.claim("a")
    run.fail("a")
    assert found(run) == {"S6"}


@pytest.mark.parametrize("allowed", [1, 3])
def test_s6_a_task_is_lost_more_often_or_less_often_than_it_may_be(allowed: int) -> None:
    run = FakeRun(dag(a="", b=""), max_lost=allowed)
    while run.tasks["a"].state is TaskState.READY:
        run.claim("a")
        run.lose("a")
    assert found(run, live=True, max_lost=2) == {"S6"}


@pytest.mark.parametrize("changes", [{"attempts": 2}, {"lost": 1}])
def test_s6_a_task_says_other_numbers_than_its_events(changes: dict[str, int]) -> None:
    run = finished()
    assert found(run, with_task(run.record(), "a", **changes)) == {"S6"}


def test_s6_the_log_of_attempts_misses_one() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a")
    run.lose("a")
    run.claim("a")
    run.succeed("a")
    assert found(run, replace(run.record(), attempts={"a": ()})) == {"S6"}
    assert found(run, replace(run.record(), attempts={})) == set(), "a log that was not read says nothing"


@pytest.mark.parametrize("kind", ["claim", "succeed"])
def test_s9_a_task_starts_or_succeeds_after_its_run_was_cancelled(kind: str) -> None:
    run = FakeRun(dag(a="", b=""))
    if kind == "succeed":
        run.claim("a")
    run.cancel()
    run.state = RunState.RUNNING
    getattr(run, kind)("a")
    run.state = RunState.CANCELLED
    # A result that counts shows in the task and in the run's counters alike.
    assert found(run) == {"S9"}


def test_s9_a_task_starts_after_a_failure_has_stopped_its_run() -> None:
    run = FakeRun(dag(on_failure="stop", a="", b=""))
    run.claim("a")
    run.fail("a")
    run.state = RunState.RUNNING
    run.claim("b")
    run.state = RunState.FAILED
    assert found(run) == {"S9"}


def test_s9_a_result_is_refused_although_nobody_cancelled() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.emit("task_cancelled", "a")
    run.tasks["a"].state = TaskState.CANCELLED
    assert found(run, live=True) == {"S9"}


def test_s12_a_run_succeeds_although_a_task_has_not_ended() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.succeed("a")
    run.end_run(RunState.SUCCEEDED)
    assert found(run) == {"S12"}


def test_s12_a_run_succeeds_although_a_task_failed() -> None:
    run = FakeRun(dag(a={"allow_failure": True}, b=""))
    run.claim("a")
    run.fail("a")
    run.claim("b")
    run.succeed("b")
    hard = replace(run.graph.tasks[0], allow_failure=False)
    assert found(run, replace(run.record(), graph=replace(run.graph, tasks=(hard, run.graph.tasks[1])))) == {"S12"}


def test_s12_a_run_fails_although_nothing_failed() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.end_run(RunState.FAILED)
    run.give_back("a")
    assert found(run) == {"S12"}


def test_s12_a_run_goes_on_although_nothing_is_left_to_do() -> None:
    run = finished()
    ended = run.events.pop()
    run.state, run.finished_at_ms = RunState.RUNNING, None
    assert found(run, live=True) == {"S12"}
    run.events.append(ended)
    run.state, run.finished_at_ms = RunState.SUCCEEDED, run.now_ms
    assert found(run) == set()


def test_s12_a_run_ends_twice() -> None:
    run = finished()
    run.emit("run_succeeded")
    assert found(run) == {"S12"}


def test_s12_a_run_is_cancelled_after_a_failure_had_stopped_it() -> None:
    run = FakeRun(dag(on_failure="stop", a="", b=""))
    run.claim("a")
    run.fail("a")
    run.events.pop()
    run.end_run(RunState.CANCELLED)
    assert found(run) == {"S12"}


def test_s12_a_run_is_stopped_and_says_it_succeeded() -> None:
    run = FakeRun(dag(on_failure="stop", a="", b=""))
    run.claim("a")
    run.fail("a")
    run.events.pop()
    run.end_run(RunState.SUCCEEDED)
    assert found(run) == {"S12"}


def test_s12_a_run_says_another_state_than_its_events() -> None:
    run = finished()
    assert found(run, with_run(run.record(), state=RunState.FAILED)) == {"S12"}


def test_s12_a_task_moves_after_its_run_has_ended_by_itself() -> None:
    run = FakeRun(dag(a="", b="a"))
    run.end_run(RunState.SUCCEEDED)
    run.state = RunState.RUNNING
    run.claim("a")
    run.state = RunState.SUCCEEDED
    assert found(run) == {"S12"}


def test_s12_counters_differ_from_a_recount() -> None:
    run = finished()
    assert found(run, with_run(run.record(), counts={TaskState.SUCCEEDED: 1, TaskState.FAILED: 1})) == {"S12"}
    assert found(run, with_run(run.record(), total=3)) == {"S12"}


def test_s12_a_run_has_ended_and_a_task_of_it_says_that_it_has_not() -> None:
    run = FakeRun(dag(a="", b=""))
    run.cancel()
    record = with_task(run.record(), "a", state=TaskState.READY)
    record = with_run(record, counts={TaskState.READY: 1, TaskState.CANCELLED: 1})
    # The task is not where its events lead to either.
    assert found(run, record) == {"S12", "S13"}
