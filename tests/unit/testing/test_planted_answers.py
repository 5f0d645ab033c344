"""Violations between what clients, tasks and the caller know and what Redis says: each is caught under its own name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import JsonValue

from engine.states import RunState, TaskState
from peerflow.testing.checker import Violation, check
from peerflow.testing.history import History
from peerflow.testing.invariants.timers import shortest_wait_ms
from peerflow.testing.records import RunRecord
from storage.views import AttemptView
from tests.support.fake_run import FakeRun
from tests.support.lab import dag

RETRIED = {"retry": {"max_attempts": 3, "wait": {"initial": 10, "multiplier": 2, "max": 15, "jitter": 0}}}
SLEEP: dict[str, Any] = {"task": "sleep", "args": {"seconds": 5}}


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


@pytest.mark.parametrize(("failures", "shortest_ms"), [(1, 10_000), (2, 15_000)])
def test_s16_a_retry_fires_too_early(failures: int, shortest_ms: int) -> None:
    def last_waits(ms: int) -> set[str]:
        run = FakeRun(dag(a=RETRIED))
        for number in range(1, failures + 1):
            run.claim("a")
            run.retry("a")
            run.fire("a", ms if number == failures else 60_000)
        return checked(run.history, run, live=True)

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
        return checked(run.history, run)

    assert wakes_after(5_000, SLEEP) == set()
    assert wakes_after(4_999, SLEEP) == {"S16"}
    assert wakes_after(0, {"task": "echo"}) == set()


def test_s16_a_retry_fires_twice() -> None:
    run = FakeRun(dag(a=RETRIED))
    run.claim("a")
    run.retry("a")
    run.fire("a")
    run.emit("task_ready", "a")
    assert checked(run.history, run, live=True) == {"S16"}


@pytest.mark.parametrize("kind", ["sleep", "retry"])
def test_s16_a_task_that_waits_starts_before_its_timer_has_fired(kind: str) -> None:
    run = FakeRun(dag(a={**SLEEP, **RETRIED}))
    run.claim("a")
    getattr(run, kind)("a")
    run.tasks["a"].state = TaskState.READY
    run.claim("a")
    assert checked(run.history, run, live=True) == {"S16"}


def test_s16_a_task_that_sleeps_becomes_ready_as_if_it_were_to_be_tried_again() -> None:
    run = FakeRun(dag(a=SLEEP))
    run.claim("a")
    run.sleep("a")
    run.tasks["a"].slept = False
    run.fire("a")
    assert checked(run.history, run, live=True) == {"S16"}


SECRET = "hunter2"


def with_secret(record: RunRecord, place: str) -> RunRecord:
    match place:
        case "run":
            return replace(record, run=replace(record.run, labels={SECRET: "x"}))
        case "definition":
            task = replace(record.graph.tasks[0], args={"headers": [{"key": f"Bearer {SECRET}"}]})
            return replace(record, graph=replace(record.graph, tasks=(task,)))
        case "task":
            return replace(record, tasks=(replace(record.tasks[0], error={"message": SECRET}),))
        case "event":
            return replace(record, events=(replace(record.events[0], detail=SECRET), *record.events[1:]))
        case _:
            error: JsonValue = {"message": SECRET}
            return replace(record, attempts={"a": (AttemptView(1, "lost", None, 1, "p1", error),)})


@pytest.mark.parametrize("place", ["run", "definition", "task", "event", "attempts"])
def test_s19_a_secret_shows_in_what_readers_see(place: str) -> None:
    run = ended(History())
    record = with_secret(run.record(), place)
    found = [violation for violation in check(run.history, [record], secrets=[SECRET]) if violation.invariant == "S19"]
    assert len(found) == 1
    assert SECRET not in str(found[0])
    assert [violation for violation in check(run.history, [record], secrets=["something else"]) if violation.invariant == "S19"] == []


def test_s19_a_secret_shows_in_the_history_or_in_the_name_of_a_key() -> None:
    run = ended(History())
    assert checked(run.history, run, secrets=[SECRET], leftover_keys=[f"{{pf:0}}:lease:{SECRET}"]) == {"S18", "S19"}
    run.history.ok(run.history.invoke("status"), body={"x": [1, None, SECRET]})
    assert checked(run.history, run, secrets=[SECRET]) == {"S19"}


def effect(run: FakeRun, phase: Any, key: str = "k", name: str = "charge") -> None:
    run.history.effect(run_id=run.run_id, task_id="a", name=name, key=key, phase=phase)


def test_e1_code_saw_an_effect_confirmed_twice_or_under_two_keys() -> None:
    run = ended(History())
    effect(run, "sent")
    effect(run, "sent")
    effect(run, "confirmed")
    assert checked(run.history, run) == set()
    effect(run, "confirmed", name="mail")
    effect(run, "confirmed", name="mail")
    assert checked(run.history, run) == {"E1"}
    assert checked(run.history, run, rollback=True) == set()
    effect(run, "sent", key="another")
    assert checked(run.history, run, rollback=True) == {"E1"}


def test_e1_events_confirm_an_effect_twice_and_s2_an_attempt_that_is_not_current_does() -> None:
    def confirmed(*pods: str, twice: bool = False) -> set[str]:
        run = FakeRun(dag(a=""))
        run.claim("a", "p1")
        run.emit("effect_sent", "a", detail="charge")
        if twice:
            run.emit("effect_confirmed", "a", detail="charge")
        run.lose("a")
        run.claim("a", "p2")
        for pod in pods:
            run.emit("effect_confirmed", "a", detail="charge", pod=pod)
        run.succeed("a")
        return checked(run.history, run)

    assert confirmed("p2") == set()
    assert confirmed("p2", twice=True) == {"E1"}
    assert confirmed("p1") == {"S2"}
