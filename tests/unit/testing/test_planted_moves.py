"""Tasks that go where they must not, or by a claim that is not theirs: S1 to S5 are each broken, and that one alone is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.states import TaskState
from tests.support.fake_run import FakeRun
from tests.support.lab import dag
from tests.support.planting import RETRIED, finished, found, without


def test_s1_a_task_that_runs_is_claimed_by_a_second_pod() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.tasks["a"].state = TaskState.READY
    run.claim("a", "p2")
    run.succeed("a")
    assert found(run) == {"S1"}


def test_s1_code_runs_without_a_claim() -> None:
    run = FakeRun(dag(a=""))
    held = run.claim("a", "p1")
    run.succeed("a")
    run.starts("a", replace(held, pod="p7", token=held.token + 1))
    assert found(run) == {"S1"}


def test_s1_one_claim_runs_twice() -> None:
    run = FakeRun(dag(a=""))
    run.starts("a", run.claim("a", "p1"))
    run.succeed("a")
    assert found(run) == {"S1"}


@pytest.mark.parametrize("kind", ["succeed", "fail", "retry", "sleep", "lose", "give_back"])
def test_s2_a_claim_that_is_not_current_ends(kind: str) -> None:
    """A pod that was given up on commits, or is given up on again, while another runs the task."""
    run = FakeRun(dag(a=RETRIED, b=""))
    run.claim("a", "p1")
    run.lose("a")
    run.claim("a", "p2")
    run.tasks["a"].pod = "p1"
    getattr(run, kind)("a")
    assert found(run, live=True) == {"S2"}


def test_s2_a_result_is_accepted_while_nobody_holds_the_task() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a", "p1")
    run.lose("a")
    run.tasks["a"].state = TaskState.RUNNING
    run.succeed("a")
    assert found(run, live=True) == {"S2"}


@pytest.mark.parametrize(("why", "end"), [("released", TaskState.FAILED), ("lost", TaskState.SUCCEEDED)])
def test_s2_a_claim_that_was_given_back_ends_with_a_result(why: str, end: TaskState) -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    if why == "lost":
        run.lose("a")
    else:
        run.give_back("a")
    run.events.pop()
    run.emit(f"task_{end}", "a")
    run.tasks["a"].state = end
    run.tasks["a"].log.clear()
    assert found(run, live=True) == {"S2"}


def test_s2_a_backoff_ends_as_if_it_were_a_sleep() -> None:
    run = FakeRun(dag(a=RETRIED))
    run.claim("a")
    run.retry("a")
    run.tasks["a"].slept = True
    run.fire("a")
    assert found(run) == {"S2"}


def test_s2_the_result_of_an_attempt_counts_that_never_ran() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.lose("a")
    run.claim("a", "p2", runs=False)
    run.succeed("a")
    assert found(run) == {"S2"}


def test_s2_the_result_of_an_attempt_counts_that_failed() -> None:
    run = FakeRun(dag(a=""))
    held = run.claim("a", "p1")
    run.returns("a", held, "failed")
    run.succeed("a")
    assert found(run) == {"S2"}


def test_s2_the_record_keeps_the_result_of_another_claim() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.succeed("a")
    run.tasks["a"].token += 1
    assert found(run) == {"S2"}


def test_s3_a_task_ends_twice() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.succeed("a")
    run.emit("task_succeeded", "a")
    assert found(run, live=True) == {"S3"}


AFTER_THE_END = [
    ("task_ready", TaskState.READY),
    ("task_started", TaskState.RUNNING),
    ("task_skipped", TaskState.SKIPPED),
    ("task_failed", TaskState.FAILED),
    ("task_sleep", TaskState.WAITING),
    ("task_cancelled", TaskState.CANCELLED),
]


@pytest.mark.parametrize(("kind", "state"), AFTER_THE_END)
def test_s3_a_task_moves_after_its_end(kind: str, state: TaskState) -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.succeed("a")
    run.emit(kind, "a")
    run.tasks["a"].state = state
    assert found(run, live=True) == {"S3"}


def test_s3_a_task_is_lost_after_its_end() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.succeed("a")
    run.lose("a")
    assert found(run, live=True) == {"S3"}


def test_s4_a_task_becomes_ready_before_its_last_predecessor_has_ended() -> None:
    """As it would if one edge were counted twice."""
    run = FakeRun(dag(a="", b="", c="a b"))
    run.claim("a")
    run.succeed("a")
    run.emit("task_ready", "c")
    run.tasks["c"].state = TaskState.READY
    assert found(run, live=True) == {"S4"}


def test_s4_a_task_is_claimed_before_its_predecessor_has_ended() -> None:
    run = FakeRun(dag(a="", b="a"))
    run.tasks["b"].state = TaskState.READY
    run.claim("b")
    assert found(run, live=True) == {"S4"}


def test_s4_a_task_is_skipped_although_nothing_failed() -> None:
    run = FakeRun(dag(a="", b="a"))
    run.emit("task_skipped", "b")
    run.tasks["b"].state = TaskState.SKIPPED
    assert found(run, live=True) == {"S4"}


def test_s4_code_of_a_task_runs_before_that_of_its_predecessor() -> None:
    run = FakeRun(dag(a="", b="a"))
    first = run.claim("a", runs=False)
    run.succeed("a")
    run.starts("b", run.claim("b", runs=False))
    run.succeed("b")
    run.starts("a", first)
    assert found(run) == {"S4"}


def test_s5_a_task_that_is_ready_is_put_into_the_queue_again() -> None:
    run = FakeRun(dag(a=""))
    run.emit("task_ready", "a")
    assert found(run, live=True) == {"S5"}


@pytest.mark.parametrize("kind", ["task_ready", "task_skipped"])
def test_s5_a_task_that_runs_is_put_elsewhere_too(kind: str) -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.emit(kind, "a")
    run.tasks["a"].state = TaskState.READY if kind == "task_ready" else TaskState.SKIPPED
    assert found(run, live=True) == {"S5"}


def test_s5_a_task_starts_out_of_no_queue() -> None:
    run = finished(dag(a=""))
    assert found(run, without(run.record(), "task_ready")) == {"S5"}


def test_s5_a_task_is_in_no_place_between_two() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.lose("a")
    gap = run.events.pop()
    run.claim("b")
    run.events.append(replace(gap, seq=len(run.events) + 1))
    assert found(run, live=True) == {"S5"}


def test_s5_a_task_that_was_given_back_is_nowhere() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a")
    run.tasks["a"].attempts = 1
    run.emit("task_lost", "a")
    run.tasks["a"].lost = 1
    assert found(run, live=True) == {"S5"}


def test_s5_a_claim_that_was_given_back_goes_to_the_next_pod_without_the_queue() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a")
    run.lose("a")
    run.events.pop()
    run.claim("a")
    run.succeed("a")
    # The queue was passed by, and with it the log of the attempt.
    assert found(run) == {"S5", "S6"}
