"""Tenants on a real server: two teams use the same pods and see nothing of each other."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from fastapi import Request

from peerflow.api import create_app, models
from peerflow.api.callers import Caller, Scope
from peerflow.settings import Settings
from storage.store import Store
from tests.support.bench import Bench, Recorder
from tests.support.key_leaks import KeyLeaks
from tests.support.servers import connect, scan

STEPS: dict[str, Any] = {"name": "secret-name", "steps": [{"type": "sequential", "tasks": ["echo"]}]}
USER = frozenset({Scope.SUBMIT, Scope.READ, Scope.CONTROL})
CALLERS = {
    "ann": Caller("ann", "blue", frozenset(Scope)),
    "ben": Caller("ben", "blue", USER),
    "rob": Caller("rob", "red", frozenset(Scope)),
    "eve": Caller("eve", "ops", frozenset(Scope), everywhere=True),
    "dee": Caller("dee", "default", frozenset(Scope)),
}


async def idle() -> None:
    """No run calls it: those of the tests wait for a pod."""


async def by_name(request: Request) -> Caller:
    return CALLERS[request.headers["x-name"]]


class Api:
    """One pod's API whose callers say who they are."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        app = create_app(
            store,
            settings=Settings.model_validate(settings),
            readiness=lambda: (True, "ready", {}),
            function_names=frozenset({"echo"}),
            publisher=Recorder(),
            authenticate=by_name,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod", timeout=30)

    async def ask(self, name: str, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"x-name": name, **request.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **request)

    async def get(self, name: str, path: str) -> Any:
        response = await self.ask(name, "GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, name: str, **headers: str) -> str:
        response = await self.ask(name, "POST", "/workflow", json=STEPS, headers=headers)
        assert response.status_code == 202, response.text
        return response.json()["run_id"]


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
    for run in (await bench.store.list_runs(limit=100)).runs:
        if not run.state.terminal:
            await bench.store.cancel(run.run_id)
    await api.client.aclose()


@pytest.fixture
async def other(valkey_url: str, namespace: str) -> AsyncGenerator[Api]:
    """Another pod, which has not seen any run yet."""
    api = Api(await Store.open(valkey_url, namespace=namespace))
    yield api
    await api.client.aclose()
    await api.store.close()


async def test_a_run_is_its_tenant_s_on_every_pod(api: Api, other: Api) -> None:
    run_id = await api.post("ann")
    for pod in (api, other):
        for name, status in (("ann", 200), ("ben", 200), ("eve", 200), ("rob", 404), ("dee", 404)):
            for path in (f"/runs/{run_id}", f"/workflow_status/{run_id}", f"/runs/{run_id}/events", f"/runs/{run_id}/explain"):
                assert (await pod.ask(name, "GET", path)).status_code == status, (name, path)
        assert (await pod.ask("rob", "POST", f"/runs/{run_id}/cancel")).status_code == 404
    run = await other.get("ben", f"/runs/{run_id}")
    models.RunDetail.model_validate(run)
    assert (run["status"], run["tenant"], run["created_by"]) == ("running", "blue", "ann")
    assert (await other.ask("ben", "POST", f"/runs/{run_id}/cancel")).status_code == 202
    events = (await api.get("ann", f"/runs/{run_id}/events"))["events"]
    assert [(event["type"], event["caller"]) for event in events] == [
        ("run_created", "ann"),
        ("task_ready", None),
        ("run_cancelled", "ben"),
    ]


async def test_the_same_idempotency_key_of_two_tenants_is_two_keys(api: Api) -> None:
    key = {"Idempotency-Key": "order 66"}
    blue, red = await api.post("ann", **key), await api.post("rob", **key)
    assert blue != red
    assert await api.post("ben", **key) == blue


async def test_lists_show_the_caller_s_tenant_and_to_some_all(api: Api) -> None:
    made = {name: await api.post(name) for name in ("ann", "ben", "rob", "dee")}

    async def seen(name: str, query: str = "") -> set[str]:
        page = await api.get(name, f"/runs{query}")
        models.RunPage.model_validate(page)
        return {run["run_id"] for run in page["runs"]}

    assert await seen("ann") == await seen("ben") == await seen("eve", "?tenant=blue") == {made["ann"], made["ben"]}
    assert await seen("rob") == {made["rob"]}
    assert await seen("dee") == await seen("eve", "?tenant=default") == {made["dee"]}
    assert await seen("eve") == set(made.values())


async def test_who_did_what_is_told_to_admins_of_the_tenant(api: Api) -> None:
    run_id = await api.post("ben")
    await api.ask("eve", "POST", f"/runs/{run_id}/cancel")
    theirs = await api.post("rob")
    page = await api.get("ann", "/access")
    models.AccessPage.model_validate(page)
    assert [(entry["caller"], entry["action"], entry["outcome"], entry["run_id"]) for entry in page["entries"]] == [
        ("eve", "cancel", "cancelled", run_id),
        ("ben", "submit", "created", run_id),
    ]
    assert [entry["run_id"] for entry in (await api.get("eve", "/access"))["entries"]] == [theirs, run_id, run_id]
    assert [entry["run_id"] for entry in (await api.get("eve", "/access?tenant=red"))["entries"]] == [theirs]
    assert (await api.ask("ben", "GET", "/access")).status_code == 403
    assert (await api.ask("ann", "GET", "/access?tenant=red")).status_code == 403
    first = await api.get("eve", "/access?limit=2")
    rest = await api.get("eve", f"/access?limit=2&cursor={first['next_cursor']}")
    assert [entry["run_id"] for entry in [*first["entries"], *rest["entries"]]] == [theirs, run_id, run_id]
    assert (await api.ask("ann", "GET", "/access?cursor=x")).status_code == 400


async def test_what_everybody_may_read_says_nothing_of_foreign_runs(api: Api, bench: Bench) -> None:
    await bench.pod(idle)
    run_id = await api.post("ann")
    own = await api.post("rob")
    for path in ("/pods", "/tasks", f"/runs/{own}/explain", f"/runs/{own}/events", f"/workflow_status/{own}"):
        text = (await api.ask("rob", "GET", path)).text
        assert run_id not in text
        assert "ann" not in text
        assert "blue" not in text


async def test_a_pod_without_keys_writes_and_reads_what_it_ever_did(bench: Bench, api: Api, valkey_url: str, namespace: str) -> None:
    pod = create_app(
        bench.store,
        settings=Settings.model_validate({"debug": True}),
        readiness=lambda: (True, "ready", {}),
        function_names=frozenset({"echo"}),
        publisher=Recorder(),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pod), base_url="http://pod") as client:
        run_id = (await client.post("/workflow", json=STEPS)).json()["run_id"]
        with connect(valkey_url) as server:
            names = scan(server, f"{{{namespace}:*")
        assert not [name for name in names if ":access" in name or ":runs:" in name]
        run = (await client.get(f"/runs/{run_id}")).json()
        assert (run["tenant"], run["created_by"]) == ("default", None)
