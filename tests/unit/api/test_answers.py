"""The shapes of answers: each is held against the model that OpenAPI shows of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from engine.compile import compile_document
from engine.events import RunCancelled
from engine.states import RunState, TaskState
from peerflow.api import models, task_pages
from peerflow.api.render import INLINE_CHARS, instant, small
from storage.views import AttemptView, EffectView, EventView, FunctionView, NewRun, PodView, TaskView
from tests.support.canned_store import CREATED_AT_MS, RUN_ID, tasks_of
from tests.unit.api.conftest import Pod

AT = CREATED_AT_MS
ERROR: dict[str, JsonValue] = {"type": "ValueError", "message": "no", "traceback": None}


def new_run(definition: dict[str, Any]) -> NewRun:
    parsed, graph = compile_document(definition)
    return NewRun(parsed, graph)


SMALL = new_run(
    {
        "name": "etl",
        "input": {"day": 1},
        "labels": {"team": "data"},
        "tasks": {"a": {"task": "task_a"}, "b": {"task": "echo", "depends_on": ["a"]}},
    }
)


def wide(count: int) -> NewRun:
    return new_run({"steps": [{"type": "parallel", "tasks": ["task_a"] * count}]})


def exactly(model: type[BaseModel], answer: object) -> None:
    """The answer has the model's fields, all of them, and nothing else."""
    parsed = model.model_validate(answer)
    assert parsed.model_fields_set == set(type(parsed).model_fields)


async def test_a_run_with_its_tasks(pod: Pod) -> None:
    done = dataclasses.replace(
        tasks_of(SMALL.graph)[0],
        state=TaskState.SUCCEEDED,
        attempts=2,
        lost=1,
        ready_at_ms=AT,
        started_at_ms=AT + 1_000,
        finished_at_ms=AT + 1_234,
        pod="pod-1",
        result={"x": [1, None]},
    )
    waiting = dataclasses.replace(tasks_of(SMALL.graph)[1], state=TaskState.WAITING, error=ERROR, retry_at_ms=AT + 60_000, reason="waits")
    pod.store.put(SMALL, tasks=[done, waiting])
    answer = await pod.get(f"/workflow_status/{RUN_ID}")
    exactly(models.WorkflowStatus, answer)
    assert answer["input"] == {"day": 1}
    assert answer["labels"] == {"team": "data"}
    assert answer["created_at"] == "2026-01-01T00:00:00.000Z"
    assert set(answer["counts"]) == {state.value for state in TaskState}
    first, second = answer["tasks"]
    exactly(models.Task, first)
    assert (first["started_at"], first["finished_at"], first["duration_seconds"]) == (
        "2026-01-01T00:00:01.000Z",
        "2026-01-01T00:00:01.234Z",
        0.234,
    )
    assert (first["result"], first["attempts"], first["lost"], first["pod"]) == ({"x": [1, None]}, 2, 1, "pod-1")
    assert (second["depends_on"], second["error"], second["retry_at"]) == (["a"], ERROR, "2026-01-01T00:01:00.000Z")
    assert answer["next_cursor"] is None


async def test_a_run_and_its_definition(pod: Pod) -> None:
    pod.store.put(SMALL)
    answer = await pod.get(f"/runs/{RUN_ID}")
    exactly(models.RunDetail, answer)
    assert answer["definition"] == await pod.get(f"/runs/{RUN_ID}/definition")
    assert compile_document(answer["definition"])[0] == SMALL.definition


@pytest.mark.parametrize(
    "definition",
    [
        {"input": {"x": "y" * INLINE_CHARS}, "tasks": {"a": {"task": "task_a"}}},
        {"tasks": {"a": {"task": "task_a", "args": {"x": "y" * INLINE_CHARS}}}},
        {"steps": [{"type": "parallel", "tasks": ["task_a"] * 501}]},
    ],
)
async def test_what_is_large_is_left_out_of_a_run_and_can_be_had_whole(pod: Pod, definition: dict[str, Any]) -> None:
    pod.store.put(new_run(definition))
    answer = await pod.get(f"/runs/{RUN_ID}")
    assert answer["definition"] is None
    assert answer["input"] == (None if "input" in definition else {})
    assert await pod.get(f"/runs/{RUN_ID}/definition") == definition


async def test_the_list_of_runs(pod: Pod) -> None:
    pod.store.put(SMALL)
    answer = await pod.get("/runs")
    exactly(models.RunPage, answer)
    exactly(models.RunSummary, answer["runs"][0])


async def test_a_finished_run_tells_how_long_it_took_and_why(pod: Pod) -> None:
    run = pod.store.put(SMALL)
    finished = dataclasses.replace(run, state=RunState.FAILED, started_at_ms=AT + 5, finished_at_ms=AT + 1_505, reason="a failed")
    pod.store.runs[RUN_ID] = (finished, *pod.store.runs[RUN_ID][1:])
    answer = await pod.get(f"/runs/{RUN_ID}")
    assert (answer["status"], answer["duration_seconds"], answer["reason"]) == ("failed", 1.5, "a failed")


async def test_one_task_its_earlier_attempts_and_its_effects(pod: Pod) -> None:
    pod.store.put(SMALL)
    pod.store.attempts = [AttemptView(1, "failed", AT, AT + 500, "pod-1", ERROR), AttemptView(2, "lost", None, AT + 900, "pod-2", None)]
    pod.store.effects = [EffectView("charge", "confirmed", "0f" * 32, 1), EffectView("mail", "unknown", "1f" * 32, 2)]
    answer = await pod.get(f"/runs/{RUN_ID}/tasks/b")
    exactly(models.TaskDetail, answer)
    assert answer["effects"] == [
        {"name": "charge", "state": "confirmed", "key": "0f" * 32, "attempt": 1},
        {"name": "mail", "state": "unknown", "key": "1f" * 32, "attempt": 2},
    ]
    assert [entry["ended_as"] for entry in answer["attempts_log"]] == ["failed", "lost"]
    assert [entry["duration_seconds"] for entry in answer["attempts_log"]] == [0.5, None]


@pytest.mark.parametrize("task_id", ["c", "%2e%2e", "a%0a", "%1b[0m", "x" * 129])
async def test_an_unknown_task_is_not_found(pod: Pod, task_id: str) -> None:
    pod.store.put(SMALL)
    problem = await pod.refused("GET", f"/runs/{RUN_ID}/tasks/{task_id}", 404)
    assert problem.type.endswith(("task-not-found", "route-not-found", "run-not-found"))


async def test_events_come_in_pages(pod: Pod) -> None:
    pod.store.put(SMALL)
    pod.store.events = [EventView(seq, AT + seq, "task_claimed", "a", 1, "pod-1", None) for seq in range(1, 6)]
    first = await pod.get(f"/runs/{RUN_ID}/events?limit=3")
    exactly(models.EventPage, first)
    assert ([event["seq"] for event in first["events"]], first["next_after"]) == ([1, 2, 3], 3)
    last = await pod.get(f"/runs/{RUN_ID}/events?limit=3&after=3")
    assert ([event["seq"] for event in last["events"]], last["next_after"]) == ([4, 5], None)
    assert await pod.get(f"/runs/{RUN_ID}/events?after=99") == {"events": [], "next_after": None}


async def test_task_functions_and_pods(pod: Pod) -> None:
    pod.store.known_functions = {"echo": FunctionView("echo", "async", "says it again", {"type": "object"}, 2)}
    pod.store.known_pods = [PodView("pod-1", "host", "0.1.0", "alive", AT, AT + 5, 100, 3, ("default",), ("echo",))]
    pod.store.repairs = 4
    functions, pods = await pod.get("/tasks"), await pod.get("/pods")
    exactly(models.FunctionList, functions)
    exactly(models.Function, functions["tasks"][0])
    exactly(models.PodList, pods)
    exactly(models.Pod, pods["pods"][0])
    assert pods["limbo_repairs_total"] == 4


async def test_health_is_the_process_and_readiness_is_its_work(pod: Pod) -> None:
    assert await pod.get("/healthz") == {"status": "ok"}
    exactly(models.Ready, await pod.get("/readyz"))
    pod.ready[:] = [False, "cannot reach redis://host", {"since": 3}]
    response = await pod.client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "reason": "cannot reach redis://host", "detail": {"since": 3}}
    assert await pod.get("/healthz") == {"status": "ok"}


async def test_probes_may_carry_any_query(pod: Pod) -> None:
    assert await pod.get("/healthz?probe=1") == {"status": "ok"}


async def test_cancelling_needs_no_body_and_takes_a_reason(pod: Pod) -> None:
    pod.store.put(SMALL)
    response = await pod.client.post(f"/runs/{RUN_ID}/cancel")
    assert response.status_code == 202
    exactly(models.Cancelled, response.json())
    await pod.client.post(f"/runs/{RUN_ID}/cancel", json={"reason": "wrong day"})
    await pod.client.post(f"/runs/{RUN_ID}/cancel", json={})
    assert [reason for _, reason in pod.store.cancelled] == ["cancelled by a caller", "wrong day", "cancelled by a caller"]
    assert [event.reason for event in pod.recorder.events if isinstance(event, RunCancelled)] == [None, "wrong day", None]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"[]", 422, ""),
        (b'{"resaon":"x"}', 422, ""),
        (b'{"reason":1}', 422, "/reason"),
        (b'{"reason":""}', 422, "/reason"),
        (b'{"reason":"a\\nb"}', 422, "/reason"),
        (b'{"reason":"' + b"x" * 501 + b'"}', 422, "/reason"),
        (b"{", 400, ""),
        (b" " * (1024 * 1024 + 1), 413, "body"),
    ],
)
async def test_a_wrong_reason_cancels_nothing(pod: Pod, body: bytes, status: int, pointer: str) -> None:
    pod.store.put(SMALL)
    headers = {"Content-Type": "application/json"}
    problem = await pod.refused("POST", f"/runs/{RUN_ID}/cancel", status, content=body, headers=headers)
    assert problem.errors[0].pointer == pointer
    assert pod.store.cancelled == []


async def test_a_reason_must_be_declared_as_json(pod: Pod) -> None:
    pod.store.put(SMALL)
    await pod.refused("POST", f"/runs/{RUN_ID}/cancel", 415, content=b"reason=x")
    assert pod.store.cancelled == []


@pytest.mark.parametrize("path", ["", "/tasks", "/tasks/a", "/events", "/definition"])
async def test_an_unknown_run_is_not_found(pod: Pod, path: str) -> None:
    problem = await pod.refused("GET", f"/runs/{RUN_ID}{path}", 404)
    assert problem.type == "urn:peerflow:problem:run-not-found"
    assert RUN_ID in problem.detail


async def pages(pod: Pod, path: str) -> list[list[str]]:
    """The ids of all pages from here on."""
    found: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        joint = "&" if "?" in path else "?"
        page = await pod.get(path + (f"{joint}cursor={cursor}" if cursor else ""))
        found.append([task["id"] for task in page["tasks"]])
        cursor = page["next_cursor"]
    return found


async def test_pages_of_tasks_together_are_all_tasks_in_order(pod: Pod) -> None:
    run = wide(601)
    pod.store.put(run)
    found = await pages(pod, f"/runs/{RUN_ID}/tasks?limit=300")
    assert [len(page) for page in found] == [300, 300, 1]
    assert [task_id for page in found for task_id in page] == [task.id for task in run.graph.tasks]
    exactly(models.TaskPage, await pod.get(f"/runs/{RUN_ID}/tasks"))


async def test_a_page_of_exactly_all_tasks_is_the_last(pod: Pod) -> None:
    pod.store.put(wide(300))
    assert [len(page) for page in await pages(pod, f"/runs/{RUN_ID}/tasks?limit=300")] == [300]


async def test_a_cursor_behind_the_last_task_gives_an_empty_last_page(pod: Pod) -> None:
    pod.store.put(SMALL)
    assert await pod.get(f"/runs/{RUN_ID}/tasks?cursor=dGFza3M6Nw") == {"tasks": [], "next_cursor": None}


async def test_a_filtered_page_looks_at_a_bounded_number_of_tasks(pod: Pod) -> None:
    run = wide(5_000)
    tasks = tasks_of(run.graph)
    tasks[4_999] = dataclasses.replace(tasks[4_999], state=TaskState.FAILED)
    pod.store.put(run, tasks=tasks)
    found = await pages(pod, f"/runs/{RUN_ID}/tasks?status=failed&limit=1")
    assert found == [[], [], ["task_a_5000"]]


async def test_every_read_of_tasks_is_a_slice(pod: Pod) -> None:
    pod.store.put(wide(1_000))
    await pod.get(f"/workflow_status/{RUN_ID}")
    assert pod.store.calls == ["get_graph", "get_run_and_tasks", *["get_tasks"] * 3]


async def test_the_status_has_ten_thousand_tasks_and_goes_on_where_lists_do(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.api.runs.STATUS_TASKS", 400)
    run = wide(700)
    pod.store.put(run)
    answer = await pod.get(f"/workflow_status/{RUN_ID}")
    assert len(answer["tasks"]) == 400
    rest = await pod.get(f"/runs/{RUN_ID}/tasks?limit=1000&cursor={answer['next_cursor']}")
    again = await pod.get(f"/workflow_status/{RUN_ID}?cursor={answer['next_cursor']}")
    assert rest["tasks"] == again["tasks"]
    assert [task["id"] for task in answer["tasks"] + rest["tasks"]] == [task.id for task in run.graph.tasks]


async def test_large_results_end_a_page_early(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pages, "PAGE_BYTES", 10_000)
    run = wide(10)
    large: list[TaskView] = [dataclasses.replace(task, state=TaskState.SUCCEEDED, result="x" * 4_000) for task in tasks_of(run.graph)]
    pod.store.put(run, tasks=large)
    assert [len(page) for page in await pages(pod, f"/workflow_status/{RUN_ID}")] == [3, 3, 3, 1]


def test_instants_are_utc_with_milliseconds() -> None:
    assert instant(None) is None
    assert instant(1_767_225_600_001) == "2026-01-01T00:00:00.001Z"
    assert instant(0) == "1970-01-01T00:00:00.000Z"


def test_small_looks_at_the_beginning_of_a_value_only() -> None:
    assert small({"a": [1, {"b": "c"}]})
    assert not small({"a": "x" * INLINE_CHARS})
    assert not small([{"k" * INLINE_CHARS: 1}])
    assert not small({str(number): [] for number in range(INLINE_CHARS)})
    deep: list[Any] = []
    for _ in range(INLINE_CHARS):
        deep = [deep]
    assert not small({"a": deep})
