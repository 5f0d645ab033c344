"""The API on a real server: a posted workflow is stored, launched, read back through any pod, listed and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from engine.events import RunCreated
from peerflow.api import create_app, models
from peerflow.settings import Settings
from storage.store import Store
from tests.support.bench import Bench, Recorder
from tests.support.key_leaks import KeyLeaks
from tests.support.waiting import wait_until_async

STEPS: dict[str, Any] = {"steps": [{"type": "parallel", "tasks": ["good", "echo"]}]}
FUNCTIONS = frozenset({"good", "bad", "echo", "stuck"})


async def good() -> bool:
    return True


async def bad() -> None:
    raise ValueError("no such thing")


async def echo(value: str = "hello") -> str:
    return value


async def stuck() -> None:
    await asyncio.Event().wait()


class Api:
    """One pod's API on a store of its own, spoken to without a network."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store, self.published = store, Recorder()
        app = create_app(
            store,
            settings=Settings.model_validate({"debug": True, **settings}),
            readiness=lambda: (True, "ready", {}),
            function_names=FUNCTIONS,
            publisher=self.published,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod", timeout=30)

    async def post(self, definition: object, **headers: str) -> str:
        response = await self.client.post("/workflow", json=definition, headers=headers)
        assert response.status_code == 202, response.text
        models.Accepted.model_validate_json(response.content)
        return response.json()["run_id"]

    async def get(self, path: str) -> Any:
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def end_of(self, run_id: str) -> Any:
        async def ended() -> Any:
            run = await self.get(f"/runs/{run_id}")
            return run if run["finished_at"] else None

        return await wait_until_async(ended, f"run {run_id} has ended", 20)


@pytest.fixture
async def bench(valkey_url: str, namespace: str) -> AsyncGenerator[Bench]:
    bench = await Bench.open(valkey_url, namespace)
    yield bench
    await bench.close()


@pytest.fixture
async def api(bench: Bench, key_leaks: KeyLeaks) -> AsyncGenerator[Api]:
    key_leaks.allow("*}:lane*", "where no pod is there to claim, nobody drops what a cancelled run left in the ready queue")
    api = Api(bench.store)
    yield api
    # What was started is ended, so that nothing stays in the server for ever.
    for run in (await bench.store.list_runs(limit=100)).runs:
        if not run.state.terminal:
            await bench.store.cancel(run.run_id)
    await api.client.aclose()


async def test_a_posted_workflow_is_stored_and_launched(api: Api, bench: Bench) -> None:
    await bench.pod(good, echo)
    run_id = await api.post({"name": "first", "steps": [{"type": "parallel", "tasks": ["good", {"task": "echo", "args": {"value": "x"}}]}]})
    run = await api.end_of(run_id)
    models.RunDetail.model_validate(run)
    assert (run["status"], run["name"], run["total"], run["counts"]["succeeded"]) == ("succeeded", "first", 2, 2)
    assert run["duration_seconds"] >= 0
    status = await api.get(f"/workflow_status/{run_id}")
    models.WorkflowStatus.model_validate(status)
    assert [(task["id"], task["status"], task["result"]) for task in status["tasks"]] == [
        ("good", "succeeded", True),
        ("echo", "succeeded", "x"),
    ]
    assert len(api.published.of(RunCreated)) == 1


async def test_a_failure_is_shown_with_its_error_and_what_it_skipped(api: Api, bench: Bench) -> None:
    await bench.pod(good, bad)
    run_id = await api.post({"tasks": {"a": {"task": "bad"}, "b": {"task": "good", "depends_on": ["a"]}}})
    run = await api.end_of(run_id)
    assert run["status"] == "failed"
    assert run["reason"]
    page = await api.get(f"/runs/{run_id}/tasks")
    models.TaskPage.model_validate(page)
    failed, skipped = page["tasks"]
    assert (failed["error"]["type"], failed["error"]["message"]) == ("ValueError", "no such thing")
    assert "no such thing" in failed["error"]["traceback"]
    assert (skipped["status"], skipped["reason"]) == ("skipped", "a did not succeed")
    assert [task["id"] for task in (await api.get(f"/runs/{run_id}/tasks?status=skipped"))["tasks"]] == ["b"]


async def test_a_task_shows_its_earlier_attempts(api: Api, bench: Bench) -> None:
    await bench.pod(bad)
    retry = {"max_attempts": 2, "wait": {"initial": 0.01, "max": 0.01}}
    run_id = await api.post({"tasks": {"a": {"task": "bad", "retry": retry}}})
    await api.end_of(run_id)
    task = await api.get(f"/runs/{run_id}/tasks/a")
    models.TaskDetail.model_validate(task)
    assert task["attempts"] == 2
    assert [(entry["attempt"], entry["ended_as"]) for entry in task["attempts_log"]] == [(1, "failed")]


async def test_another_pod_shows_the_same(api: Api, valkey_url: str, namespace: str) -> None:
    run_id = await api.post(STEPS)
    other = Api(await Store.open(valkey_url, namespace=namespace))
    try:
        for path in (f"/runs/{run_id}", f"/workflow_status/{run_id}", f"/runs/{run_id}/tasks/echo", f"/runs/{run_id}/events", "/runs"):
            assert await other.get(path) == await api.get(path)
    finally:
        await other.client.aclose()
        await other.store.close()


async def test_events_are_read_page_by_page(api: Api, bench: Bench) -> None:
    await bench.pod(good, echo)
    run_id = await api.post(STEPS)
    await api.end_of(run_id)
    whole = await api.get(f"/runs/{run_id}/events?limit=1000")
    models.EventPage.model_validate(whole)
    assert [event["seq"] for event in whole["events"]] == list(range(1, len(whole["events"]) + 1))
    assert (whole["events"][0]["type"], whole["events"][-1]["type"]) == ("run_created", "run_succeeded")
    paged: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = await api.get(f"/runs/{run_id}/events?limit=2&after={after}")
        paged += page["events"]
        after = page["next_after"]
    assert paged == whole["events"]


async def test_an_idempotency_key_makes_one_run_of_many_posts(api: Api) -> None:
    ids = await asyncio.gather(*[api.post(STEPS, **{"Idempotency-Key": "order 66"}) for _ in range(10)])
    assert len(set(ids)) == 1
    assert len((await api.get("/runs"))["runs"]) == 1
    assert len(api.published.of(RunCreated)) == 1
    conflict = await api.client.post("/workflow", json={**STEPS, "name": "other"}, headers={"Idempotency-Key": "order 66"})
    assert conflict.status_code == 422
    assert ids[0] in conflict.json()["detail"]


async def test_a_dry_run_leaves_nothing(api: Api) -> None:
    response = await api.client.post("/workflow?dry_run=true", json=STEPS)
    assert response.status_code == 200
    models.Plan.model_validate_json(response.content)
    assert (await api.get("/runs"))["runs"] == []


async def test_a_run_can_be_cancelled_until_it_has_finished(api: Api, bench: Bench) -> None:
    await bench.pod(good, stuck)
    run_id = await api.post({"steps": [{"type": "sequential", "tasks": ["stuck", "good"]}]})
    response = await api.client.post(f"/runs/{run_id}/cancel", json={"reason": "wrong day"})
    assert response.status_code == 202
    assert response.json() == {"run_id": run_id, "status": "cancelled"}
    run = await api.end_of(run_id)
    assert (run["status"], "wrong day" in run["reason"], run["counts"]["cancelled"]) == ("cancelled", True, 2)
    finished = await api.post({"steps": [{"type": "sequential", "tasks": ["good"]}]})
    await api.end_of(finished)
    late = await api.client.post(f"/runs/{finished}/cancel")
    assert late.status_code == 409
    assert "succeeded" in late.json()["detail"]


async def test_the_list_is_newest_first_and_can_be_filtered(api: Api) -> None:
    first = await api.post({**STEPS, "name": "a", "labels": {"team": "x"}})
    second = await api.post({**STEPS, "name": "b", "labels": {"team": "y"}})
    third = await api.post({**STEPS, "name": "b", "labels": {"team": "x"}})
    await api.client.post(f"/runs/{second}/cancel")

    async def ids(query: str) -> list[str]:
        return [run["run_id"] for run in (await api.get(f"/runs?{query}"))["runs"]]

    everything = await ids("")
    assert set(everything) == {first, second, third}
    created = {run["run_id"]: run["created_at"] for run in (await api.get("/runs"))["runs"]}
    assert [created[run_id] for run_id in everything] == sorted(created.values(), reverse=True)
    assert set(await ids("name=b")) == {second, third}
    assert set(await ids("label=team=x")) == {first, third}
    assert await ids("status=cancelled") == [second]
    assert await ids("name=b&label=team=x&status=running") == [third]
    assert await ids("created_before=2020-01-01T00:00:00Z") == []
    assert set(await ids("created_after=2020-01-01T00:00:00Z")) == {first, second, third}


async def test_pages_of_runs_together_are_all_runs(api: Api) -> None:
    posted = {await api.post(STEPS) for _ in range(7)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = await api.get(f"/runs?limit=3{cursor}")
        models.RunPage.model_validate(page)
        assert len(page["runs"]) <= 3
        seen += [run["run_id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (len(seen), set(seen)) == (7, posted)


@pytest.mark.parametrize("place", ["x", "1", "1.x", ".", "99999999999999999999.x", "-1.x", "1.\u0661"])
async def test_a_forged_cursor_is_refused_or_empty_but_never_an_error(api: Api, place: str) -> None:
    from base64 import urlsafe_b64encode

    await api.post(STEPS)
    cursor = urlsafe_b64encode(f"runs:{place}".encode()).decode().rstrip("=")
    response = await api.client.get(f"/runs?cursor={cursor}")
    assert response.status_code in {200, 400}


async def test_a_run_of_many_tasks_is_read_in_pages_that_fit_together(api: Api) -> None:
    count = 10_050
    run_id = await api.post({"steps": [{"type": "parallel", "tasks": ["good"] * count}]})
    status = await api.get(f"/workflow_status/{run_id}")
    assert (status["total"], len(status["tasks"])) == (count, 10_000)
    rest = await api.get(f"/runs/{run_id}/tasks?limit=100&cursor={status['next_cursor']}")
    assert rest["next_cursor"] is None
    ids = [task["id"] for task in status["tasks"] + rest["tasks"]]
    assert ids == ["good", *[f"good_{number}" for number in range(2, count + 1)]]
    run = await api.get(f"/runs/{run_id}")
    assert run["definition"] is None
    definition = await api.client.get(f"/runs/{run_id}/definition")
    again = await api.client.post("/workflow?dry_run=true", content=definition.content, headers={"Content-Type": "application/json"})
    assert (again.status_code, again.json()["tasks"]) == (200, count)


async def test_functions_and_pods_are_those_of_living_pods(api: Api, bench: Bench) -> None:
    assert (await api.get("/tasks"), await api.get("/pods")) == ({"tasks": []}, {"pods": [], "limbo_repairs_total": 0})
    pod = await bench.pod(good, echo)
    functions, pods = await api.get("/tasks"), await api.get("/pods")
    models.FunctionList.model_validate(functions)
    models.PodList.model_validate(pods)
    assert [(function["name"], function["pods"]) for function in functions["tasks"]] == [("echo", 1), ("good", 1)]
    assert [(entry["pod_id"], entry["state"]) for entry in pods["pods"]] == [(pod.who.pod_id, "alive")]


async def test_a_function_of_another_pod_can_be_called(api: Api, bench: Bench) -> None:
    async def theirs() -> str:
        return "theirs"

    refused = await api.client.post("/workflow", json={"steps": [{"type": "parallel", "tasks": ["theirs"]}]})
    assert refused.status_code == 422
    await bench.pod(theirs)
    run_id = await api.post({"steps": [{"type": "parallel", "tasks": ["theirs"]}]})
    await api.end_of(run_id)
    assert (await api.get(f"/runs/{run_id}/tasks/theirs"))["result"] == "theirs"


async def test_without_a_server_every_call_says_so_with_the_address(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.api.read_route.READ_SECONDS", 0.3)
    store = Store(f"unix://{tmp_path}/nobody.sock")
    api = Api(store)
    try:
        run_id = "01890a5d-ac96-774b-bcce-b302099a8057"
        for path in (f"/runs/{run_id}", f"/workflow_status/{run_id}", "/runs", "/pods", "/tasks"):
            response = await api.client.get(path)
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert str(tmp_path) in response.json()["detail"]
        response = await api.client.post("/workflow", json=STEPS)
        assert response.status_code == 503
        assert "unknown" in json.loads(response.content)["detail"]
        assert (await api.client.get("/healthz")).status_code == 200
    finally:
        await api.client.aclose()
        await store.close()
