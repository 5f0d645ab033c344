"""Every route of the application × every kind of credentials: who gets in, who is asked again (401), who may not (403)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.routing import Route

from engine.compile import compile_document
from peerflow.api.authenticator import authenticator
from peerflow.auth.access import Access
from peerflow.auth.api_key import PREFIX_CHARS, new_key
from peerflow.auth.identity import Scope
from peerflow.auth.key_ring import KeyRing
from storage.views import NewRun
from tests.support.api_keys import LONG_AGO, SOME_DAY, bearer, new_entry, write_keys
from tests.support.canned_store import RUN_ID
from tests.unit.api.conftest import FUNCTIONS, Pod, make_pod

DEFINITION: Final[dict[str, Any]] = {"tasks": {"a": {"task": "task_a"}}}


@dataclass(frozen=True, slots=True)
class Row:
    """What a route takes, and what it answers to a caller who may."""

    scope: Scope | None
    """None: open to everybody."""
    status: int = 200
    body: object = None


TABLE: Final[dict[str, Row]] = {
    "GET /docs": Row(None),
    "GET /docs/start.js": Row(None),
    "GET /docs/swagger-ui.css": Row(None),
    "GET /docs/swagger-ui.js": Row(None),
    "GET /healthz": Row(None),
    "GET /openapi.json": Row(None),
    "GET /readyz": Row(None),
    "GET /access": Row(Scope.ADMIN),
    "GET /metrics": Row(Scope.READ, 404),
    "GET /pods": Row(Scope.READ),
    "GET /runs": Row(Scope.READ),
    "GET /runs/{run_id}": Row(Scope.READ),
    "GET /runs/{run_id}/definition": Row(Scope.READ),
    "GET /runs/{run_id}/events": Row(Scope.READ),
    "GET /runs/{run_id}/explain": Row(Scope.READ),
    "GET /runs/{run_id}/logs": Row(Scope.READ),
    "GET /runs/{run_id}/tasks": Row(Scope.READ),
    "GET /runs/{run_id}/tasks/{task_id}": Row(Scope.READ),
    "GET /tasks": Row(Scope.READ),
    "GET /workflow_status/{run_id}": Row(Scope.READ),
    "POST /runs/{run_id}/cancel": Row(Scope.CONTROL, 202),
    "POST /workflow": Row(Scope.SUBMIT, 202, DEFINITION),
}
"""A route without a row fails the first test."""

CLOSED_WITHOUT_KEYS: Final = {"GET /access"}
GUARDED: Final = sorted(name for name, row in TABLE.items() if row.scope is not None)


def routes(found: list[Any]) -> set[str]:
    """`METHOD /path` of each route, those of included routers too."""
    names: set[str] = set()
    for route in found:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            names |= routes(inner)
            continue
        assert isinstance(route, Route), f"{route!r} has no row of its kind here"
        names |= {f"{method} {route.path}" for method in (route.methods or {"*"}) - {"HEAD"}}
    return names


@dataclass(frozen=True, slots=True)
class Guarded:
    """A pod with keys, and the headers of each caller."""

    pod: Pod
    callers: dict[str, dict[str, str]]

    async def ask(self, name: str, headers: dict[str, str], query: str = "") -> Any:
        method, path = name.split(" ")
        concrete = path.format(run_id=RUN_ID, task_id="a") + query
        return await self.pod.client.request(method, concrete, headers=headers, json=TABLE[name].body)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Guarded]:
    made = {scope.value: new_entry(scope.value, scope, expires_at=SOME_DAY) for scope in Scope}
    made["other"] = new_entry("other", *Scope, tenant="another", expires_at=SOME_DAY)
    made["expired"] = new_entry("old", *Scope, expires_at=LONG_AGO)
    ring = KeyRing(write_keys(tmp_path / "keys.json", *(entry for _, entry in made.values())))
    callers = {name: bearer(key) for name, (key, _) in made.items()}
    admin = made["admin"][0]
    callers |= {
        "nobody": {},
        "wrong secret": bearer(admin[:PREFIX_CHARS] + new_key()[PREFIX_CHARS:]),
        "unknown prefix": bearer(new_key()),
        "cut short": bearer(admin[:-1]),
        "the prefix alone": bearer(admin[:PREFIX_CHARS]),
        "too long": bearer("pfk_" + "x" * 20_000),
        "a token without an issuer": bearer("eyJhbGciOiJub25lIn0.e30."),
        "another scheme": {"Authorization": f"Basic {admin}"},
        "no scheme": {"Authorization": admin},
        "another header": {"X-API-Key": admin},
        "empty": {"Authorization": "Bearer "},
    }
    pod = make_pod(debug=True, authenticate=authenticator(Access(ring, None)))
    definition, graph = compile_document(DEFINITION, functions=FUNCTIONS)
    pod.store.put(NewRun(definition=definition, graph=graph, idempotency_key=None, body_digest=""))
    async with pod.client:
        yield Guarded(pod, callers)


NOBODY: Final = (
    "nobody",
    "wrong secret",
    "unknown prefix",
    "cut short",
    "the prefix alone",
    "too long",
    "a token without an issuer",
    "another scheme",
    "no scheme",
    "another header",
    "empty",
    "expired",
)


def test_every_route_of_the_application_has_a_row() -> None:
    assert routes(list(make_pod().app.routes)) == set(TABLE)


@pytest.mark.parametrize("who", NOBODY)
@pytest.mark.parametrize("name", GUARDED)
async def test_a_route_asks_whoever_proves_nothing_for_a_key(guarded: Guarded, name: str, who: str) -> None:
    answer = await guarded.ask(name, guarded.callers[who])
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["remedy"]
    assert guarded.pod.store.calls == []


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("name", GUARDED)
async def test_a_scope_opens_its_routes_and_no_others(guarded: Guarded, name: str, scope: Scope) -> None:
    answer = await guarded.ask(name, guarded.callers[scope.value])
    row = TABLE[name]
    if scope in {row.scope, Scope.ADMIN}:
        assert answer.status_code == row.status, answer.text
    else:
        assert row.scope is not None
        assert answer.status_code == 403, answer.text
        assert answer.json()["type"] == "urn:peerflow:problem:scope-missing"
        assert f'error="insufficient_scope", scope="{row.scope.value}"' in answer.headers["www-authenticate"]
        assert guarded.pod.store.calls == []


@pytest.mark.parametrize("who", ["nobody", "wrong secret", "expired", "read"])
@pytest.mark.parametrize("name", sorted(set(TABLE) - set(GUARDED)))
async def test_probes_and_the_documentation_are_open_to_all(guarded: Guarded, name: str, who: str) -> None:
    assert (await guarded.ask(name, guarded.callers[who])).status_code == 200


@pytest.mark.parametrize("name", GUARDED)
async def test_a_key_in_the_address_is_no_key(guarded: Guarded, name: str) -> None:
    key = guarded.callers["admin"]["Authorization"].removeprefix("Bearer ")
    for parameter in ("api_key", "access_token", "key", "token"):
        assert (await guarded.ask(name, {}, f"?{parameter}={key}")).status_code == 401


async def test_a_refusal_does_not_say_whether_the_prefix_is_known(guarded: Guarded) -> None:
    answers = [(await guarded.ask("GET /runs", guarded.callers[who])) for who in ("wrong secret", "unknown prefix", "cut short")]
    assert len({(answer.text, answer.headers["www-authenticate"]) for answer in answers}) == 1


async def test_only_the_holder_of_an_expired_key_is_told_that_it_has_expired(guarded: Guarded) -> None:
    answer = await guarded.ask("GET /runs", guarded.callers["expired"])
    assert "(old) has expired" in answer.json()["detail"]


async def test_bytes_that_are_no_text_are_refused(guarded: Guarded) -> None:
    answer = await guarded.pod.client.get("/runs", headers={b"Authorization": b"Bearer pfk_12345678_\xe9\xff"})
    assert answer.status_code == 401


async def test_two_keys_in_one_request_are_refused(guarded: Guarded) -> None:
    key = guarded.callers["admin"]["Authorization"]
    answer = await guarded.pod.client.get("/runs", headers=[("Authorization", key), ("Authorization", key)])
    assert answer.status_code == 401


async def test_no_answer_and_no_event_holds_a_key_that_was_sent(guarded: Guarded) -> None:
    for who in NOBODY:
        sent = guarded.callers[who].get("Authorization", "").removeprefix("Bearer ")
        answer = await guarded.ask("POST /workflow", guarded.callers[who])
        assert len(sent) <= PREFIX_CHARS or sent[PREFIX_CHARS:] not in answer.text, who
    assert guarded.pod.recorder.events == []


async def test_credentials_are_asked_for_before_the_body_and_the_query_are_looked_at(guarded: Guarded) -> None:
    post = await guarded.pod.client.post("/workflow?dry_run=maybe", content=b"{", headers={})
    assert post.status_code == 401


@pytest.mark.parametrize("name", sorted(TABLE))
async def test_a_pod_without_keys_lets_everybody_in(name: str) -> None:
    pod = make_pod(debug=True)
    definition, graph = compile_document(DEFINITION, functions=FUNCTIONS)
    pod.store.put(NewRun(definition=definition, graph=graph, idempotency_key=None, body_digest=""))
    async with pod.client:
        assert (await Guarded(pod, {}).ask(name, {})).status_code == (403 if name in CLOSED_WITHOUT_KEYS else TABLE[name].status)


@pytest.mark.parametrize("name", sorted(TABLE))
async def test_a_run_of_another_tenant_is_as_unknown_as_one_that_never_was(guarded: Guarded, name: str) -> None:
    answer = await guarded.ask(name, guarded.callers["other"])
    assert answer.status_code == (404 if "{run_id}" in name else TABLE[name].status)
    if "{run_id}" in name:
        assert "run-not-found" in answer.text


async def test_the_list_of_runs_needs_no_debug_where_callers_are_known(tmp_path: Path) -> None:
    key, entry = new_entry("ci", Scope.READ)
    ring = KeyRing(write_keys(tmp_path / "keys.json", entry))
    pod = make_pod(debug=False, authenticate=authenticator(Access(ring, None)))
    async with pod.client:
        assert (await pod.client.get("/runs", headers=bearer(key))).status_code == 200
        assert (await pod.client.get("/runs")).status_code == 401


async def test_the_openapi_document_names_the_scope_of_each_call(guarded: Guarded) -> None:
    document = await guarded.pod.get("/openapi.json")
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name] | {"description": ""} == {"type": "http", "scheme": "bearer", "description": ""}
    for route, row in TABLE.items():
        method, path = route.split(" ")
        operation = document["paths"].get(path, {}).get(method.lower())
        if row.scope is None:
            assert operation is None or "security" not in operation
        else:
            assert operation["security"] == [{name: [row.scope.value]}], route
            assert {"401", "403"} <= operation["responses"].keys()


async def test_the_openapi_document_of_a_pod_without_keys_says_that_credentials_are_optional(pod: Pod) -> None:
    document = await pod.get("/openapi.json")
    assert document["paths"]["/workflow"]["post"]["security"] == [{}, {"bearer": ["submit"]}]
