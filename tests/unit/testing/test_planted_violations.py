"""Each invariant is broken once on purpose: the checker names that one, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.states import RunState, TaskState
from peerflow.testing.checker import check
from peerflow.testing.records import RunRecord
from tests.support.fake_run import FakeRun
from tests.support.lab import dag

RETRIED = {"retry": {"max_attempts": 2, "wait": {"initial": 60, "jitter": 0}}}


def found(run: FakeRun, record: RunRecord | None = None, **options: Any) -> set[str]:
    """The names of the invariants that the checker reports."""
    return {violation.invariant for violation in check(run.history, [record or run.record()], **options)}


def finished(document: dict[str, Any] | None = None) -> FakeRun:
    """A run whose tasks all succeeded, one after the other."""
    run = FakeRun(document or dag(a="", b="a"))
    for task in run.graph.order():
        run.claim(task)
        run.succeed(task)
    return run


def with_task(record: RunRecord, task_id: str, **changes: Any) -> RunRecord:
    return replace(record, tasks=tuple(replace(task, **changes) if task.id == task_id else task for task in record.tasks))


def with_run(record: RunRecord, **changes: Any) -> RunRecord:
    return replace(record, run=replace(record.run, **changes))


def without(record: RunRecord, kind: str) -> RunRecord:
    """Without the events of one type; the others are numbered anew."""
    left = [event for event in record.events if event.type != kind]
    return replace(record, events=tuple(replace(event, seq=seq) for seq, event in enumerate(left, 1)))


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
    run.tasks["a"].pod, run.tasks["a"].attempts = "p1", 1
    getattr(run, kind)("a")
    invariants = {violation.invariant for violation in check(run.history, [run.record()], live=True)}
    # What follows from it is charged wrongly where an attempt goes on to be counted.
    assert invariants >= {"S2"}
    assert invariants <= {"S2", "S6"}


def test_s2_a_result_is_accepted_while_nobody_holds_the_task() -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a", "p1")
    run.lose("a")
    run.tasks["a"].state = TaskState.RUNNING
    run.succeed("a")
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


@pytest.mark.parametrize("kind", ["task_ready", "task_started", "task_skipped", "task_lost", "task_cancelled"])
def test_s3_a_task_moves_after_its_end(kind: str) -> None:
    run = FakeRun(dag(a="", b=""))
    run.claim("a")
    run.succeed("a")
    run.emit(kind, "a")
    assert "S3" in found(run, live=True)


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


EVENT_FAULTS: list[Callable[[FakeRun], object]] = [
    lambda run: run.events.pop(2),
    lambda run: run.events.insert(3, run.events[2]),
    lambda run: run.events.insert(2, replace(run.events.pop(3), seq=3)),
    lambda run: run.emit("run_created"),
    lambda run: run.emit("task_dreamt", "a"),
    lambda run: run.emit("task_ready", "nobody"),
    lambda run: run.emit("run_succeeded", "a"),
    lambda run: run.emit("task_lost", "a", pod=None),
]


@pytest.mark.parametrize("fault", EVENT_FAULTS)
def test_s13_the_log_of_events_is_broken(fault: Callable[[FakeRun], object]) -> None:
    run = finished()
    fault(run)
    assert found(run) == {"S13"}


def test_s13_a_task_is_elsewhere_than_its_events_lead_to() -> None:
    run = finished()
    record = with_task(run.record(), "b", state=TaskState.FAILED)
    # The counters, which are right, are no recount of such tasks.
    assert found(run, record) == {"S13", "S12"}
    run = FakeRun(dag(a="", b=""))
    record = with_run(with_task(run.record(), "a", state=TaskState.RUNNING), counts={TaskState.READY: 1, TaskState.RUNNING: 1})
    assert found(run, record, live=True) == {"S13"}


@pytest.mark.parametrize("finished_at_ms", [None, 1])
def test_s13_a_run_ended_at_another_time_than_its_event_says(finished_at_ms: int | None) -> None:
    run = finished()
    assert found(run, with_run(run.record(), finished_at_ms=finished_at_ms)) == {"S13"}


@pytest.mark.parametrize("seqs", [[1, 2, 2], [1, 3], [2, 1]])
def test_s13_a_reader_of_the_stream_sees_an_event_twice_or_not_at_all(seqs: list[int]) -> None:
    run = finished()
    number = run.history.invoke("events", run_id=run.run_id)
    run.history.ok(number, seqs=[*seqs])
    assert found(run) == {"S13"}


def test_s13_a_reader_that_is_told_of_a_gap_has_one() -> None:
    run = finished()
    number = run.history.invoke("events", run_id=run.run_id)
    run.history.ok(number, seqs=[1, 2, 5], gap=True)
    number = run.history.invoke("events", run_id=run.run_id)
    run.history.ok(number, seqs=[3, 4, 5])
    assert found(run) == set()


def test_s14_two_claims_have_one_fencing_token() -> None:
    run = FakeRun(dag(a=""))
    held = run.claim("a", "p1")
    run.lose("a")
    later = run.claim("a", "p2", runs=False)
    run.tasks["a"].token = held.token
    run.starts("a", replace(later, token=held.token))
    run.succeed("a")
    assert found(run) == {"S14"}
    assert found(run, rollback=True) == {"S14"}


def test_s14_a_later_claim_has_a_smaller_fencing_token() -> None:
    run = FakeRun(dag(a=""))
    held = run.claim("a", "p1")
    run.lose("a")
    later = run.claim("a", "p2", runs=False)
    run.starts("a", replace(later, token=held.token - 5))
    run.succeed("a")
    assert found(run) == {"S14"}


def test_s14_the_record_has_a_smaller_fencing_token_than_an_attempt() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.succeed("a")
    run.tasks["a"].token -= 1
    assert found(run) == {"S14"}
