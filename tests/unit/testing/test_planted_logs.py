"""Broken logs of events and fencing tokens that do not grow: S13 and S14 are each broken, and that one alone is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.states import TaskState
from tests.support.fake_run import FakeRun
from tests.support.lab import dag
from tests.support.planting import finished, found, with_run, with_task

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
    run.claim("a")
    run.fail("a")
    run.claim("b")
    run.succeed("b")
    assert found(run, with_task(run.record(), "a", state=TaskState.SUCCEEDED)) == {"S13", "S12"}
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
