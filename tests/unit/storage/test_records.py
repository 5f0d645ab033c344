"""What is stored as text becomes what readers see: states, counts, times, reasons."""

from __future__ import annotations

from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import StorageCorrupt
from engine.graph import Graph
from engine.states import RunState, TaskState
from storage.records import attempt_view, event_view, run_view, task_view
from storage.views import RunView, TaskView

CREATED = 1_700_000_000_000
ROW = {"state": "running", "created": str(CREATED), "total": "10"}


def graph() -> Graph:
    tasks = {"a": {"task": "echo"}, "b": {"task": "echo", "depends_on": ["a"], "queue": "big", "priority": 3}}
    return compile_definition(WorkflowDefinition.model_validate({"tasks": tasks}))


def run(state: str = "running", **fields: str) -> RunView:
    return run_view("r", ROW | {"state": state} | fields)


def task(record: str | None, state: str = "running", index: int = 0, **fields: str) -> TaskView:
    return task_view(graph(), index, record, run(state, **fields))


def counted(view: RunView) -> dict[str, int]:
    return {state.value: count for state, count in view.counts.items() if count}


def test_tasks_that_are_in_no_counter_are_pending() -> None:
    view = run(ready="1", running="2", waiting="1", succeeded="2", failed="1", skipped="1")
    assert counted(view) == {"pending": 2, "ready": 1, "running": 2, "waiting": 1, "succeeded": 2, "failed": 1, "skipped": 1}
    assert view.counts.keys() == set(TaskState)


def test_a_run_without_counters_has_only_pending_tasks() -> None:
    assert counted(run()) == {"pending": 10}


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_what_had_not_ended_when_the_run_did_is_cancelled(state: str) -> None:
    view = run(state, ready="1", running="2", waiting="1", succeeded="2", failed="1", skipped="1")
    assert counted(view) == {"succeeded": 2, "failed": 1, "skipped": 1, "cancelled": 6}


@pytest.mark.parametrize("state", list(RunState))
def test_counts_add_up_to_the_total_in_every_state(state: RunState) -> None:
    assert sum(run(state.value, ready="1", running="2", succeeded="3").counts.values()) == 10


def test_a_run_is_read_with_everything_that_it_says() -> None:
    view = run(
        "failed",
        started="1700000000005",
        finished="1700000000009",
        name="n",
        labels='{"k":"v"}',
        priority="-3",
        on_failure="stop",
        reason="1",
    )
    assert (view.run_id, view.state, view.total, view.name, view.labels) == ("r", RunState.FAILED, 10, "n", {"k": "v"})
    assert (view.created_at_ms, view.started_at_ms, view.finished_at_ms) == (CREATED, CREATED + 5, CREATED + 9)
    assert (view.priority, view.on_failure, view.reason) == (-3, "stop", "1")


def test_what_a_run_does_not_say_has_its_default() -> None:
    view = run(reason="")
    assert (view.started_at_ms, view.finished_at_ms, view.name, view.labels, view.reason) == (None, None, None, {}, None)
    assert (view.priority, view.on_failure) == (0, "continue")


def test_a_task_without_record_is_pending_or_cancelled_with_its_run() -> None:
    pending = task(None, index=1)
    assert (pending.state, pending.reason, pending.depends_on, pending.queue, pending.priority) == (
        TaskState.PENDING,
        None,
        ("a",),
        "big",
        3,
    )
    assert (pending.attempts, pending.lost, pending.ready_at_ms, pending.pod) == (0, 0, None, None)
    cancelled = task(None, "cancelled", reason="enough")
    assert (cancelled.state, cancelled.reason) == (TaskState.CANCELLED, "the run cancelled: enough")
    assert task(None, "cancelled").reason is None


def test_a_running_task_has_pod_start_and_token() -> None:
    view = task("running 2 1 1700000000000123 5 9 - p1 " + "0" * 32)
    assert (view.state, view.attempts, view.lost, view.pod, view.fencing_token) == (TaskState.RUNNING, 2, 1, "p1", 1700000000000123)
    assert (view.ready_at_ms, view.started_at_ms, view.finished_at_ms, view.retry_at_ms) == (CREATED + 5, CREATED + 9, None, None)
    assert (view.result, view.error, view.reason) == (None, None, None)


@pytest.mark.parametrize(("text", "value"), [("null", None), ("false", False), ("12", 12), ('"a\\nb"', "a\nb"), ('{"x": [1]}', {"x": [1]})])
def test_a_succeeded_task_has_its_result(text: str, value: Any) -> None:
    view = task(f"succeeded 1 0 7 1 2 3 p1 -\n{text}")
    assert (view.state, view.result, view.error, view.finished_at_ms) == (TaskState.SUCCEEDED, value, None, CREATED + 3)


def test_a_result_may_hold_line_feeds() -> None:
    assert task('succeeded 1 0 7 1 2 3 p1 -\n{\n"x": 1\n}').result == {"x": 1}


def test_a_failed_task_has_its_error() -> None:
    view = task('failed 1 0 7 1 2 3 p1 -\n{"type":"E"}')
    assert (view.error, view.result, view.reason) == ({"type": "E"}, None, None)


@pytest.mark.parametrize(
    ("word", "error", "reason"),
    [("backoff", {"type": "E"}, "waits for its next attempt"), ("sleep", None, "sleeps"), ("signal", None, "signal")],
)
def test_a_waiting_task_says_for_what_and_until_when(word: str, error: Any, reason: str) -> None:
    view = task(f'waiting 1 0 7 1 2 5000 p1 {word}\n{{"type":"E"}}')
    assert (view.state, view.error, view.reason, view.retry_at_ms, view.finished_at_ms) == (
        TaskState.WAITING,
        error,
        reason,
        CREATED + 5000,
        None,
    )
    assert view.result is None


def test_a_skipped_task_names_the_one_that_did_not_succeed() -> None:
    view = task("skipped 0 0 0 - - 4 - -\nupstream 0", index=1)
    assert (view.state, view.reason, view.finished_at_ms, view.fencing_token) == (TaskState.SKIPPED, "a did not succeed", CREATED + 4, None)
    assert task("skipped 0 0 0 - - 4 - -", index=1).reason is None


@pytest.mark.parametrize("stored", ["ready 0 0 0 1 - - - -", "running 1 0 7 1 2 - p1 c", 'waiting 1 0 7 1 2 9 p1 backoff\n{"type":"E"}'])
def test_a_task_that_had_not_ended_with_its_run_is_cancelled(stored: str) -> None:
    view = task(stored, "cancelled", reason="enough")
    assert (view.state, view.reason) == (TaskState.CANCELLED, "the run cancelled: enough")
    assert (view.finished_at_ms, view.retry_at_ms, view.error, view.result) == (None, None, None, None)


def test_a_task_that_stopped_after_its_run_ended_says_when() -> None:
    view = task("cancelled 1 0 7 1 2 9 p1 -", "failed", reason="task failed and on_failure is stop")
    assert (view.state, view.finished_at_ms) == (TaskState.CANCELLED, CREATED + 9)
    assert view.reason == "the run failed: task failed and on_failure is stop"


@pytest.mark.parametrize("state", ["succeeded", "failed", "skipped"])
def test_a_task_that_had_ended_keeps_its_state(state: str) -> None:
    assert task(f"{state} 1 0 7 1 2 9 p1 -\n0", "cancelled").state.value == state


@pytest.mark.parametrize("record", ["", "ready", "ready 0 0 0 1 - - -", "ready 0 0 0 1 - - - - -"])
def test_a_record_of_another_shape_is_corrupt_and_names_its_task(record: str) -> None:
    with pytest.raises(StorageCorrupt, match="task 'a' of run r"):
        task(record)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 run_created", (CREATED, "run_created", None, None, None, None)),
        ("7 run_failed 2 task(s) failed", (CREATED + 7, "run_failed", None, None, None, "2 task(s) failed")),
        ("7 ready 1 - -", (CREATED + 7, "task_ready", "b", None, None, None)),
        ("7 started 0 3 p1", (CREATED + 7, "task_started", "a", 3, "p1", None)),
        ("-5 failed 0 1 p1 E: with  some   text", (CREATED - 5, "task_failed", "a", 1, "p1", "E: with  some   text")),
    ],
)
def test_an_event_is_read_from_its_line(line: str, expected: tuple[Any, ...]) -> None:
    view = event_view(graph(), 4, line, CREATED)
    assert view.seq == 4
    assert (view.at_ms, view.type, view.task_id, view.attempt, view.pod, view.detail) == expected


def test_an_attempt_that_failed_has_its_error_and_a_lost_one_has_none() -> None:
    failed = attempt_view(2, 'failed 5 9 p1\n{"type":"E"}', CREATED)
    assert (failed.attempt, failed.ended_as, failed.started_at_ms, failed.ended_at_ms) == (2, "failed", CREATED + 5, CREATED + 9)
    assert (failed.pod, failed.error) == ("p1", {"type": "E"})
    lost = attempt_view(1, "lost - 9 p1", CREATED)
    assert (lost.ended_as, lost.started_at_ms, lost.error) == ("lost", None, None)
