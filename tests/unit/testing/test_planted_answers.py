"""Violations between what clients, tasks and the caller know and what Redis says: each is caught under its own name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.states import RunState
from peerflow.testing.checker import Violation, check
from peerflow.testing.history import History
from tests.support.fake_run import FakeRun
from tests.support.lab import dag


def names(violations: list[Violation]) -> set[str]:
    return {violation.invariant for violation in violations}


def ended(history: History, name: str | None = None) -> FakeRun:
    """A run of one task that succeeded."""
    run = FakeRun({**dag(a=""), "name": name}, history)
    run.claim("a")
    run.succeed("a")
    return run


def post(history: History, run: FakeRun | None = None, **facts: Any) -> None:
    """A post that was answered with `run`, or that was refused."""
    existing = facts.pop("existing", None)
    number = history.invoke("post", **facts)
    if run is None:
        history.fail(number, status=422)
    else:
        history.ok(number, run_id=run.run_id, **({} if existing is None else {"existing": existing}))


def checked(history: History, *runs: FakeRun, **options: Any) -> set[str]:
    return names(check(history, [run.record() for run in runs], **options))


def test_a_violation_says_where_and_what() -> None:
    assert str(Violation("S9", "R", "a", "starts")) == "S9 run R task a: starts"
    assert str(Violation("S18", None, None, "k is left")) == "S18: k is left"


def test_s10_one_key_has_two_runs() -> None:
    history = History()
    runs = [ended(history), ended(history)]
    for run in runs:
        post(history, run, idempotency_key="k", caller="me")
    assert checked(history, *runs) == {"S10"}


def test_s10_two_posts_with_one_key_were_both_told_that_they_made_the_run() -> None:
    history = History()
    run = ended(history)
    for _ in range(2):
        post(history, run, idempotency_key="k", existing=False)
    assert checked(history, run) == {"S10"}


def test_s10_one_key_is_accepted_with_two_bodies() -> None:
    history = History()
    run = ended(history)
    for body in ("one", "two"):
        post(history, run, idempotency_key="k", body=body)
    assert checked(history, run) == {"S10"}


def test_s10_a_post_whose_answer_was_lost_made_a_run_and_its_repeat_made_another() -> None:
    history = History()
    runs = [ended(history, "nightly"), ended(history, "nightly")]
    history.unknown(history.invoke("post", idempotency_key="k", name="nightly"))
    post(history, runs[1], idempotency_key="k", name="nightly", existing=False)
    assert checked(history, *runs) == {"S10"}
    assert checked(history, runs[1]) == set()


def test_a_key_that_is_noted_under_another_name_is_refused_rather_than_not_checked() -> None:
    history = History()
    run = ended(history)
    post(history, run, key="k")
    with pytest.raises(ValueError, match="idempotency_key"):
        checked(history, run)


def test_posts_of_one_name_make_a_run_each_where_their_keys_or_callers_differ_or_they_have_none() -> None:
    history = History()
    runs = [ended(history, "nightly") for _ in range(4)]
    post(history, runs[0], name="nightly", idempotency_key="k", caller="me")
    post(history, runs[1], name="nightly", idempotency_key="k", caller="you")
    post(history, runs[2], name="nightly")
    post(history, runs[3], name="nightly")
    assert checked(history, *runs) == set()


def test_s11_the_run_of_a_refused_post_is_there() -> None:
    history = History()
    run = ended(history, "refused")
    post(history, name="refused")
    assert checked(history, run) == {"S11"}


def test_s11_parts_of_a_definition_are_left_and_s18_anything_else() -> None:
    history = History()
    run = ended(history)
    assert checked(history, run, leftover_keys=["{pf:0}:run:lost:graph"]) == {"S11"}
    assert checked(history, run, leftover_keys=[f"{{pf:0}}:run:{run.run_id}:graph"]) == {"S18"}
    assert checked(history, run, leftover_keys=["{pf:0}:run:other:graph", "{pf:0}:run:other"]) == {"S18"}
    assert checked(history, run, leftover_keys=["{pf:0}:lease:0123"]) == {"S18"}


def test_l1_an_accepted_run_is_gone_unless_redis_was_rolled_back() -> None:
    history = History()
    post(history, FakeRun(dag(a="")))
    assert checked(history) == {"L1"}
    assert checked(history, rollback=True) == set()


def test_l1_a_run_never_ends() -> None:
    run = FakeRun(dag(a=""))
    assert checked(run.history, run) == {"L1"}
    assert checked(run.history, run, live=True) == set()


def test_l6_something_was_repaired_although_redis_has_forgotten_nothing() -> None:
    run = FakeRun(dag(a="", b="a"))
    run.emit("task_repaired", "a", attempt=None, pod=None, detail="queue")
    run.claim("a")
    run.succeed("a")
    run.emit("run_repaired", detail="counts")
    run.claim("b")
    run.succeed("b")
    assert checked(run.history, run) == {"L6"}
    assert checked(run.history, run, rollback=True) == set()


def test_l6_a_run_in_which_nothing_could_move_was_ended_by_the_audit() -> None:
    run = FakeRun(dag(a="", b="a"))
    run.emit("run_repaired", detail="dead end")
    run.end_run(RunState.FAILED)
    assert checked(run.history, run) == {"L6"}
    assert checked(run.history, run, rollback=True) == set()


def test_s8_an_attempt_is_taken_from_a_pod_that_lived() -> None:
    run = FakeRun(dag(a=""))
    run.claim("a", "p1")
    run.lose("a")
    run.claim("a", "p2")
    run.succeed("a")
    assert checked(run.history, run, unharmed_pods={"p1", "p2"}) == {"S8"}
    assert checked(run.history, run, unharmed_pods={"p2"}) == set()


@pytest.mark.parametrize(("outcome", "state"), [("ok", "cancelled"), ("fail", "failed")])
def test_s9_a_cancel_is_answered_with_an_end_that_the_run_has_not(outcome: str, state: str) -> None:
    history = History()
    run = ended(history)
    number = history.invoke("cancel", run_id=run.run_id)
    getattr(history, outcome)(number, state=state)
    assert checked(history, run) == {"S9"}
    assert checked(history, run, rollback=True) == set()


def test_s9_a_run_is_cancelled_that_nobody_cancelled() -> None:
    history = History()
    other, run = FakeRun(dag(a=""), history), FakeRun(dag(a=""), history)
    history.unknown(history.invoke("cancel", run_id=other.run_id))
    for cancelled in (other, run):
        cancelled.cancel()
    assert checked(history, other, run) == {"S9"}
    history.unknown(history.invoke("cancel"))
    assert checked(history, other, run) == set()


def test_a_cancel_that_lost_tells_how_the_run_had_ended() -> None:
    history = History()
    run = ended(history)
    history.fail(history.invoke("cancel", run_id=run.run_id), state="succeeded")
    history.fail(history.invoke("cancel", run_id="unknown"), status=404)
    assert checked(history, run) == set()


def test_s3_a_client_saw_another_end_of_the_run() -> None:
    history = History()
    run = ended(history)
    history.ok(history.invoke("status", run_id=run.run_id), state="running")
    assert checked(history, run) == set()
    history.ok(history.invoke("status", run_id=run.run_id), state="failed")
    assert checked(history, run) == {"S3"}


def read_again(change: dict[str, Any], *, of_run: bool = False) -> set[str]:
    """A run, and the same run read again when one thing in it has changed without an event."""
    run = ended(History())
    first = run.record()
    if of_run:
        second = replace(first, run=replace(first.run, **change))
    else:
        second = replace(first, tasks=tuple(replace(task, **change) for task in first.tasks))
    return names(check(run.history, [first, second]))


def test_s3_a_result_or_a_run_changes_after_its_end_without_an_event() -> None:
    assert read_again({}) == set()
    assert read_again({"result": 2}) == {"S3"}
    assert read_again({"reason": "another"}, of_run=True) == {"S3"}


def test_s13_a_run_that_is_read_again_has_another_past() -> None:
    run = ended(History())
    first = run.record()
    events = (replace(first.events[0], at_ms=1), *first.events[1:])
    assert names(check(run.history, [first, replace(first, events=events)])) == {"S13"}
    assert check(run.history, [first, replace(first, events=events)], rollback=True) == []


def test_a_run_that_is_read_while_it_moves_and_again_at_its_end_is_right() -> None:
    run = FakeRun(dag(a="", b="a"))
    records = [run.record()]
    for task_id in "ab":
        run.claim(task_id)
        records.append(run.record())
        run.succeed(task_id)
        records.append(run.record())
    assert check(run.history, records) == []
