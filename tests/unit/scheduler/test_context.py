"""What a task learns about itself; also what a user's own unit test can make."""

from __future__ import annotations

import logging

import pytest
from pydantic import JsonValue

from scheduler.context import TaskContext, current


def test_the_effect_key_is_the_same_for_all_attempts_and_differs_between_tasks_and_runs() -> None:
    keys = {
        TaskContext(run_id=run_id, task_id=task_id, attempt=attempt, fencing_token=attempt).effect_key
        for run_id in ("run-1", "run-2")
        for task_id in ("a", "b")
        for attempt in (1, 2, 3)
    }
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)


def test_the_logger_names_run_task_and_attempt_and_keeps_what_the_caller_adds(caplog: pytest.LogCaptureFixture) -> None:
    context = TaskContext(run_id="run-1", task_id="load", attempt=2)
    with caplog.at_level(logging.INFO, "peerflow.task"):
        context.log.info("%d rows", 3, extra={"table": "orders"})
    [record] = caplog.records
    facts = {name: record.__dict__[name] for name in ("run_id", "task", "attempt", "table")}
    assert facts == {"run_id": "run-1", "task": "load", "attempt": 2, "table": "orders"}
    assert record.getMessage() == "3 rows"


def test_a_heartbeat_goes_to_whoever_made_the_context() -> None:
    beats: list[JsonValue] = []
    TaskContext(on_heartbeat=beats.append).heartbeat({"rows": 3})
    TaskContext().heartbeat()
    assert beats == [{"rows": 3}]


def test_a_context_is_cancelled_once_somebody_cancelled_it() -> None:
    context = TaskContext()
    assert not context.cancelled
    context.cancel()
    assert context.cancelled


def test_outside_of_a_task_there_is_no_current_context() -> None:
    with pytest.raises(LookupError, match="inside a task function"):
        current()
