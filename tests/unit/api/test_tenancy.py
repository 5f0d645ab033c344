"""A caller sees its own tenant's runs, and of others not even that they exist."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import JsonValue

from engine.compile import compile_document
from engine.errors import StorageUnavailable
from peerflow.api import create_app
from peerflow.api.callers import DEFAULT_TENANT, Caller, Scope
from peerflow.api.tenancy import own_run
from peerflow.logging import CallerRefused
from peerflow.settings import Settings
from storage import views
from storage.views import NewRun
from tests.support.canned_store import RUN_ID, CannedStore
from tests.unit.api.conftest import FUNCTIONS, Recorder, make_pod

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8f00"
SMALL: dict[str, JsonValue] = {"steps": [{"type": "sequential", "tasks": ["task_a"]}]}
CALLERS = {
    "ann": Caller("ann", "blue", frozenset(Scope)),
    "bob": Caller("bob", "red", frozenset(Scope)),
    "ray": Caller("ray", "blue", frozenset({Scope.READ})),
    "eve": Caller("eve", "ops", frozenset(Scope), everywhere=True),
}


async def by_name(request: Request) -> Caller:
    return CALLERS[request.headers["x-name"]]


class Tenants:
    """A pod whose callers say who they are."""

    def __init__(self) -> None:
        self.store, self.recorder = CannedStore(), Recorder()
        self.app = create_app(
            self.store.as_store(),
            settings=Settings(),
            readiness=lambda: (True, "ready", {}),
            function_names=FUNCTIONS,
            publisher=self.recorder,
            authenticate=by_name,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://pod")

    async def ask(self, name: str, method: str, path: str, **request: Any) -> httpx.Response:
        return await self.client.request(method, path, headers={"x-name": name}, **request)

    def put(self, tenant: str) -> None:
        definition, graph = compile_document(SMALL, functions=FUNCTIONS)
        self.store.put(NewRun(definition, graph, tenant=tenant))


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


def routes(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    """Method, path and route of every call of the application."""
    found: list[tuple[str, str, APIRoute]] = []
    for route in app.routes:
        inner: list[Any] = list(getattr(getattr(route, "original_router", None), "routes", [route]))
        found += [(method, each.path, each) for each in inner if isinstance(each, APIRoute) for method in each.methods or ()]
    return found


OF_A_RUN = sorted((method, path) for method, path, _ in routes(make_pod().app) if "{" in path)


def test_runs_without_a_tenant_are_those_of_callers_without_keys() -> None:
    assert views.DEFAULT_TENANT == DEFAULT_TENANT


def test_a_part_of_a_path_that_varies_names_a_run_or_a_part_of_it() -> None:
    assert len(OF_A_RUN) >= 8
    assert all("{run_id}" in path for _, path in OF_A_RUN)


@pytest.mark.parametrize(("method", "path"), OF_A_RUN)
async def test_a_foreign_run_is_answered_exactly_as_an_unknown_one(tenants: Tenants, method: str, path: str) -> None:
    tenants.put("blue")
    assert (await tenants.ask("ann", method, path.format(run_id=RUN_ID, task_id="task_a"))).status_code in {200, 202, 404}
    for suffix in ("", "?nonsense=1", "?limit=0"):
        foreign = await tenants.ask("bob", method, path.format(run_id=RUN_ID, task_id="task_a") + suffix)
        unknown = await tenants.ask("bob", method, path.format(run_id=UNKNOWN, task_id="task_a") + suffix)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.text.replace(RUN_ID, UNKNOWN) == unknown.text
        assert {**foreign.headers, "content-length": ""} == {**unknown.headers, "content-length": ""}
    assert tenants.store.calls[-6:] == ["tenant_of"] * 6
    assert tenants.store.cancelled == ([(RUN_ID, "cancelled by a caller")] if path.endswith("/cancel") else [])


@pytest.mark.parametrize(("method", "path"), OF_A_RUN)
async def test_who_sees_all_tenants_costs_no_look_at_whose_a_run_is(tenants: Tenants, method: str, path: str) -> None:
    tenants.put("blue")
    await tenants.ask("eve", method, path.format(run_id=RUN_ID, task_id="task_a"))
    assert "tenant_of" not in tenants.store.calls
    assert tenants.store.calls


async def test_a_pod_without_keys_costs_no_look_at_whose_a_run_is() -> None:
    pod = make_pod()
    definition, graph = compile_document(SMALL, functions=FUNCTIONS)
    pod.store.put(NewRun(definition, graph))
    await pod.get(f"/runs/{RUN_ID}")
    assert "tenant_of" not in pod.store.calls


def test_the_guard_stands_before_every_call_of_a_run() -> None:
    """The same from the other side: what FastAPI will ask before each route."""
    app = make_pod().app
    unguarded: list[str] = []
    for route in app.routes:
        context = getattr(route, "include_context", None)
        asked = [dependency.dependency for dependency in getattr(context, "dependencies", None) or getattr(route, "dependencies", [])]
        inner: list[Any] = list(getattr(getattr(route, "original_router", None), "routes", [route]))
        unguarded += [each.path for each in inner if "{run_id}" in each.path and own_run not in asked]
    assert unguarded == []


async def test_what_is_posted_is_the_caller_s_tenant_s_and_bears_the_caller_s_name(tenants: Tenants) -> None:
    response = await tenants.ask("ann", "POST", "/workflow", json=SMALL)
    assert response.status_code == 202
    assert [(new.tenant, new.caller) for new in tenants.store.stored] == [("blue", "ann")]
    pod = make_pod()
    await pod.post(SMALL)
    assert [(new.tenant, new.caller) for new in pod.store.stored] == [("default", None)]


async def test_a_cancellation_bears_the_caller_s_name(tenants: Tenants) -> None:
    tenants.put("blue")
    for name in ("ann", "bob", "eve"):
        await tenants.ask(name, "POST", f"/runs/{RUN_ID}/cancel")
    assert tenants.store.cancelled_by == ["ann", "eve"]


@pytest.mark.parametrize("path", ["/runs"])
async def test_lists_are_those_of_the_caller_s_tenant(tenants: Tenants, path: str) -> None:
    for name, query, seen in (("ann", "", "blue"), ("ann", "?tenant=blue", "blue"), ("eve", "", None), ("eve", "?tenant=red", "red")):
        assert (await tenants.ask(name, "GET", path + query)).status_code == 200
        assert tenants.store.list_arguments["tenant"] == seen
    tenants.store.list_arguments = {}
    refused = await tenants.ask("ann", "GET", path + "?tenant=red")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:peerflow:problem:tenant-closed")
    assert tenants.store.list_arguments == {}


async def test_who_did_what_is_not_told_where_nobody_has_a_name() -> None:
    problem = await make_pod(debug=True).refused("GET", "/access", 403)
    assert problem.type == "urn:peerflow:problem:list-closed"


async def test_what_a_caller_s_scopes_do_not_allow_is_a_line_of_the_log(tenants: Tenants) -> None:
    tenants.put("blue")
    assert (await tenants.ask("ray", "GET", f"/runs/{RUN_ID}")).status_code == 200
    assert tenants.recorder.events == []
    assert (await tenants.ask("ray", "POST", f"/runs/{RUN_ID}/cancel")).status_code == 403
    assert tenants.recorder.events == [
        CallerRefused(caller="ray", tenant="blue", method="POST", path=f"/runs/{RUN_ID}/cancel", scope="control")
    ]


@pytest.mark.parametrize(("method", "path"), [("GET", "/runs/{}"), ("HEAD", "/runs/{}"), ("POST", "/runs/{}/cancel")])
async def test_whose_run_it_is_is_asked_again_once_and_not_by_two_loops_in_one(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    # Each loop gives up after its second call then.
    monkeypatch.setattr("peerflow.api.read_route.READ_SECONDS", 0)
    monkeypatch.setattr("peerflow.api.tenancy.ASK_SECONDS", 0)
    tenants.store.failing = StorageUnavailable("redis://here", "gone")
    assert (await tenants.ask("ann", method, path.format(RUN_ID))).status_code == 503
    assert tenants.store.calls == ["tenant_of", "tenant_of"]
