"""What the checker must accept: everything that a correct engine can do under faults."""

from __future__ import annotations

from typing import Any

from engine.states import RunState
from peerflow.testing.checker import check
from peerflow.testing.history import History
from tests.support.fake_run import FakeRun
from tests.support.lab import dag

RETRIED = {"retry": {"max_attempts": 3, "wait": {"initial": 60, "multiplier": 1, "jitter": 0}}}


def violations(*runs: FakeRun, **options: Any) -> list[str]:
    history = runs[0].history
    return [str(violation) for violation in check(history, [run.record() for run in runs], **options)]


def test_a_chain_and_a_diamond_that_succeed_are_right() -> None:
    run = FakeRun(dag(a="", b="a", c="a", d="b c"))
    for task_id in "abcd":
        run.claim(task_id)
        run.succeed(task_id)
    assert run.state is RunState.SUCCEEDED
    assert violations(run) == []


def test_an_attempt_that_was_lost_is_tried_again_and_its_code_may_end_later_or_even_start_later() -> None:
    run = FakeRun(dag(a="", b="a"))
    zombie = run.claim("a", "p1", runs=False)
    run.lose("a")
    run.claim("a", "p2")
    run.starts("a", zombie)
    run.succeed("a")
    run.returns("a", zombie)
    run.claim("b", "p2")
    run.succeed("b")
    assert (run.tasks["a"].attempts, run.tasks["a"].lost) == (2, 1)
    assert violations(run) == []


def test_claims_that_were_released_or_never_heard_of_give_their_number_out_again() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.give_back("a")
    run.claim("a", "p1", runs=False)
    run.give_back("a", "unheard")
    run.claim("a", "p1")
    run.succeed("a")
    assert [event.attempt for event in run.events if event.type == "task_started"] == [1, 1, 1]
    assert violations(run) == []


def test_failures_that_are_tried_again_and_lost_attempts_between_them_are_right() -> None:
    run = FakeRun(dag(a=RETRIED))
    run.claim("a")
    run.retry("a")
    run.fire("a")
    run.claim("a")
    run.lose("a")
    run.claim("a")
    run.retry("a")
    run.fire("a")
    run.claim("a")
    run.fail("a")
    assert run.state is RunState.FAILED
    assert run.tasks["a"].attempts == 4
    assert violations(run) == []


def test_a_task_whose_pods_die_too_often_fails_and_what_depends_on_it_is_skipped() -> None:
    run = FakeRun(dag(a="", b="a", c="b", d=""), max_lost=2)
    for _ in range(3):
        run.claim("a")
        run.lose("a")
    run.claim("d")
    run.succeed("d")
    assert [run.tasks[task_id].state for task_id in "abcd"] == ["failed", "skipped", "skipped", "succeeded"]
    assert violations(run, max_lost=2) == []


def test_a_sleep_ends_by_its_timer_and_its_successor_starts() -> None:
    run = FakeRun(dag(a={"task": "sleep", "args": {"seconds": 60}}, b="a"))
    run.claim("a")
    run.sleep("a")
    run.fire("a")
    run.claim("b")
    run.succeed("b")
    assert violations(run) == []


def test_what_runs_when_its_run_is_cancelled_ends_in_any_way() -> None:
    run = FakeRun(dag(a="", b="", c="", d="", e="a", f=RETRIED))
    number = run.history.invoke("cancel", run_id=run.run_id)
    for task_id in "abcdf":
        run.claim(task_id, f"p{task_id}")
    run.retry("f")
    run.cancel()
    run.history.ok(number, run_id=run.run_id, state="cancelled")
    run.succeed("a")
    run.lose("b")
    run.give_back("c")
    run.give_back("d", "unheard")
    assert violations(run) == []


def test_a_failure_that_stops_the_run_refuses_results_of_the_same_batch_before_the_run_says_so() -> None:
    run = FakeRun(dag(on_failure="stop", a="", b="", c="", d="a"))
    for task_id in "abc":
        run.claim(task_id)
    run.fail("a")
    # One call commits both: the second result is refused before the run's own event is written.
    ends = [run.events.pop()]
    run.state = RunState.FAILED
    run.succeed("b")
    run.emit("run_failed", at_ms=ends[0].at_ms)
    run.lose("c")
    assert [task.state for task in run.record().tasks] == ["failed", "cancelled", "cancelled", "cancelled"]
    assert violations(run) == []


def test_a_failure_that_is_allowed_fails_neither_the_run_nor_stops_it() -> None:
    run = FakeRun(dag(on_failure="stop", a={"allow_failure": True}, b="a", c=""))
    run.claim("a")
    run.fail("a")
    run.claim("c")
    run.succeed("c")
    assert run.state is RunState.SUCCEEDED
    assert violations(run) == []


def test_a_post_without_an_answer_may_have_made_a_run_or_not() -> None:
    history = History()
    run = FakeRun({"name": "once", **dag(a="")}, history)
    first = history.invoke("post", idempotency_key="k", name="once", body="b")
    history.unknown(first)
    history.invoke("post", idempotency_key="other", name="never")
    second = history.invoke("post", idempotency_key="k", name="once", body="b")
    history.ok(second, run_id=run.run_id, existing=True)
    refused = history.invoke("post", idempotency_key="k", name="once", body="another")
    history.fail(refused, status=422)
    run.claim("a")
    run.succeed("a")
    assert violations(run) == []


def test_a_run_that_is_under_way_is_right_at_each_moment() -> None:
    run = FakeRun(dag(a=RETRIED, b="a", c=""))
    steps = [
        lambda: run.claim("a"),
        lambda: run.retry("a"),
        lambda: run.claim("c"),
        lambda: run.fire("a"),
        lambda: run.claim("a"),
        lambda: run.lose("a"),
    ]
    for step in steps:
        step()
        assert violations(run, live=True) == []
    run.claim("a")
    # Read before the attempt above was claimed, checked after: its history is ahead of the record.
    record = run.record()
    run.give_back("a")
    run.claim("a", "p9")
    assert check(run.history, [record], live=True) == []
