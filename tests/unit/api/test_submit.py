"""POST /workflow: what is stored, what is answered, and how it can be repeated."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from engine.errors import StorageRefused, StorageUnavailable
from engine.events import RunCreated
from storage.views import FunctionView
from tests.support.canned_store import RUN_ID
from tests.unit.api.conftest import Pod, make_pod

STEPS: dict[str, Any] = {"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}, {"type": "sequential", "tasks": ["task_c"]}]}
DAG: dict[str, Any] = {
    "name": "etl",
    "tasks": {
        "extract": {"task": "echo", "args": {"value": [1]}},
        "check": {"task": "task_a", "depends_on": ["extract"]},
        "load": {"task": "task_b", "depends_on": ["extract", "check"]},
    },
}


async def test_a_workflow_is_stored_and_answered_with_its_place(pod: Pod) -> None:
    response = await pod.post(STEPS)
    assert response.status_code == 202
    assert response.json() == {
        "message": "Workflow received",
        "run_id": RUN_ID[:-1] + "0",
        "status": "running",
        "durability": "aof-everysec",
    }
    assert response.headers["location"] == f"/runs/{RUN_ID[:-1]}0"
    (new,) = pod.store.stored
    assert [task.id for task in new.graph.tasks] == ["task_a", "task_b", "task_c"]
    assert new.idempotency_key is None
    assert new.body_digest == hashlib.sha256(response.request.content).hexdigest()


async def test_a_new_run_is_published(pod: Pod) -> None:
    await pod.post(DAG)
    (event,) = pod.recorder.events
    assert isinstance(event, RunCreated)
    assert (event.name, event.tasks, event.edges) == ("etl", 3, 3)
    assert 0 < event.duration_seconds < 60


async def test_the_same_key_and_body_give_the_same_answer_and_one_run(pod: Pod) -> None:
    first = await pod.post(STEPS, **{"Idempotency-Key": "order 66!"})
    second = await pod.post(STEPS, **{"Idempotency-Key": "order 66!"})
    assert (first.status_code, first.content, first.headers["location"]) == (second.status_code, second.content, second.headers["location"])
    assert len(pod.store.stored) == 1
    assert len(pod.recorder.events) == 1


async def test_the_same_key_with_another_body_is_refused(pod: Pod) -> None:
    await pod.post(STEPS, **{"Idempotency-Key": "k"})
    problem = await pod.refused("POST", "/workflow", 422, json=DAG, headers={"Idempotency-Key": "k"})
    assert problem.type.endswith("idempotency-conflict")
    assert problem.errors[0].pointer == "header/Idempotency-Key"
    assert RUN_ID[:-1] in problem.detail
    assert len(pod.store.stored) == 1


@pytest.mark.parametrize("key", [b"", b" ", b"k" * 256, b"caf\xc3\xa9", b"a\tb", b"a\x7fb"])
async def test_a_key_that_is_none_is_refused(pod: Pod, key: bytes) -> None:
    problem = await pod.refused("POST", "/workflow", 400, json=STEPS, headers=[(b"Idempotency-Key", key)])
    assert problem.errors[0].pointer == "header/Idempotency-Key"
    assert pod.store.stored == []


async def test_two_keys_are_refused(pod: Pod) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    problem = await pod.refused("POST", "/workflow", 400, json=STEPS, headers=headers)
    assert "2 keys" in problem.detail


async def test_the_longest_key_is_taken(pod: Pod) -> None:
    assert (await pod.post(STEPS, **{"Idempotency-Key": "~" * 255})).status_code == 202


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=UTF-8", "Application/JSON", "application/workflow+json"]
)
async def test_json_may_be_declared_in_several_ways(pod: Pod, media_type: str) -> None:
    response = await pod.client.post("/workflow", content=json.dumps(STEPS), headers={"Content-Type": media_type})
    assert response.status_code == 202


async def test_a_dry_run_tells_the_plan_and_stores_nothing(pod: Pod) -> None:
    response = await pod.post(DAG, "/workflow?dry_run=true")
    assert response.status_code == 200
    assert response.json() == {"tasks": 3, "edges": 3, "order": ["extract", "check", "load"], "critical_path": ["extract", "check", "load"]}
    assert pod.store.calls == []
    assert pod.recorder.events == []


async def test_a_misspelt_dry_run_starts_nothing(pod: Pod) -> None:
    problem = await pod.refused("POST", "/workflow?dryrun=true", 400, json=DAG)
    assert problem.errors[0].pointer == "query/dryrun"
    assert problem.errors[0].remedy == "did you mean dry_run?"
    assert pod.store.stored == []


@pytest.mark.parametrize("value", ["", "maybe", "2"])
async def test_a_dry_run_is_true_or_false(pod: Pod, value: str) -> None:
    problem = await pod.refused("POST", f"/workflow?dry_run={value}", 400, json=DAG)
    assert (problem.errors[0].pointer, problem.errors[0].remedy) == ("query/dry_run", "give true or false")
    assert pod.store.stored == []


async def test_functions_of_other_pods_may_be_called(pod: Pod) -> None:
    pod.store.known_functions["their_task"] = FunctionView("their_task", "thread", "", {}, 1)
    response = await pod.post({"steps": [{"type": "parallel", "tasks": ["their_task", "task_a"]}]})
    assert response.status_code == 202
    assert pod.store.calls == ["functions", "create_run"]


async def test_a_function_that_no_pod_has_is_refused_with_the_nearest_of_all(pod: Pod) -> None:
    pod.store.known_functions["send_invoice"] = FunctionView("send_invoice", "thread", "", {}, 1)
    problem = await pod.refused("POST", "/workflow", 422, json={"steps": [{"type": "parallel", "tasks": ["send_invoices"]}]})
    (item,) = problem.errors
    assert (item.code, item.pointer, item.remedy) == ("unknown-function", "/steps/0/tasks/0", 'did you mean "send_invoice"?')
    assert pod.store.stored == []


async def test_known_functions_cost_no_call(pod: Pod) -> None:
    await pod.post(STEPS)
    assert pod.store.calls == ["create_run"]


async def test_without_an_answer_from_redis_the_caller_learns_how_to_repeat(pod: Pod) -> None:
    pod.store.failing = StorageUnavailable("redis://host:6379", "timed out")
    problem = await pod.refused("POST", "/workflow", 503, json=STEPS)
    assert "redis://host:6379" in problem.detail
    assert "whether the run was stored is unknown" in problem.detail
    assert "Idempotency-Key" in problem.errors[0].remedy
    with_key = await pod.client.post("/workflow", json=STEPS, headers={"Idempotency-Key": "k"})
    assert with_key.headers["retry-after"] == "2"
    assert with_key.json()["errors"][0]["remedy"] == "send the same request with the same Idempotency-Key again"


async def test_a_full_redis_is_answered_507(pod: Pod) -> None:
    pod.store.failing = StorageRefused("OOM command not allowed when used memory > 'maxmemory'.")
    problem = await pod.refused("POST", "/workflow", 507, json=STEPS)
    assert "maxmemory" in problem.errors[0].remedy


async def test_a_large_definition_is_compiled_outside_the_loop(monkeypatch: pytest.MonkeyPatch, pod: Pod) -> None:
    import threading

    from peerflow.api import submit

    threads: list[threading.Thread] = []
    compiled = submit.compile_document

    def remember(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread())
        return compiled(*args, **kwargs)

    monkeypatch.setattr(submit, "compile_document", remember)
    await pod.post(STEPS)
    await pod.post({**STEPS, "input": {"x": "y" * 70_000}})
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


async def test_the_limits_are_the_settings() -> None:
    small = make_pod(limit_body_bytes=2_048, limit_other_body_bytes=1_024, limit_args_bytes=64, limit_tasks=2)
    async with small.client:
        problem = await small.refused("POST", "/workflow", 413, json={"input": {"x": "y" * 2_048}})
        assert problem.detail == "the body has 2066 bytes; the limit is 2048 bytes"
        problem = await small.refused("POST", "/workflow", 422, json=STEPS)
        assert (problem.errors[0].code, problem.errors[0].pointer) == ("limit-exceeded", "/steps")
        problem = await small.refused("POST", "/workflow", 422, json={"tasks": {"a": {"task": "echo", "args": {"value": "y" * 64}}}})
        assert problem.errors[0].pointer == "/tasks/a/args"
