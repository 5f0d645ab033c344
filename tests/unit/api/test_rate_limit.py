"""Who sends too many requests is told so, by name, and where nobody is known by address."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest
from fastapi import Request

from engine.errors import StorageUnavailable
from peerflow.api import create_app
from peerflow.api.callers import ANYBODY, Authenticate, Caller, Scope
from peerflow.api.problem import RequestRefused
from peerflow.settings import Settings
from storage.tokens import Taken
from storage.views import PodView
from tests.support.canned_store import CannedStore
from tests.unit.api.conftest import FUNCTIONS, Recorder


class Buckets:
    """Tokens without a server: `burst` of them for each caller, and no more."""

    per_second, burst = 10.0, 2

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def take(self, caller: str) -> Taken:
        if self.away:
            raise StorageUnavailable("redis://here", "gone")
        self.asked.append(caller)
        left = self.burst - self.asked.count(caller)
        return Taken(allowed=left >= 0, left=max(0, left), retry_ms=0 if left >= 0 else 1_700, full_ms=200)


class Store(CannedStore):
    def __init__(self) -> None:
        super().__init__()
        self.buckets = Buckets()

    def tokens(self, *, per_second: float, burst: int) -> Buckets:
        assert (per_second, burst) == (10.0, 2)
        return self.buckets


async def by_key(request: Request) -> Caller:
    name = request.headers.get("x-name")
    if name is None:
        raise RequestRefused(401, "scope-missing", "who are you?", remedy="send a key")
    return Caller(name, "blue", frozenset({Scope.READ}))


async def nobody(request: Request) -> Caller:
    del request
    return ANYBODY


def made(store: Store, *, authenticate: Authenticate = by_key, client: str = "192.0.2.7", rate: float = 10.0) -> httpx.AsyncClient:
    app = create_app(
        store.as_store(),
        settings=Settings.model_validate({"rate_limit_per_second": rate, "rate_limit_burst": 2}),
        readiness=lambda: (True, "ready", {}),
        function_names=FUNCTIONS,
        publisher=Recorder(),
        authenticate=authenticate,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://pod")


async def statuses(client: httpx.AsyncClient, paths: Sequence[str], **headers: str) -> list[int]:
    return [(await client.get(path, headers=headers)).status_code for path in paths]


async def test_each_answer_says_how_many_are_left_and_one_too_many_is_refused() -> None:
    async with made(Store()) as client:
        first, second, third = [await client.get("/pods", headers={"x-name": "ann"}) for _ in range(3)]
        assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
        assert (first.headers["ratelimit-policy"], first.headers["ratelimit"]) == ('"default";q=2;w=1', '"default";r=1;t=1')
        assert "retry-after" not in second.headers
        assert (third.headers["ratelimit"], third.headers["retry-after"]) == ('"default";r=0;t=1', "2")
        assert third.headers["content-type"] == "application/problem+json"
        assert third.json()["type"] == "urn:peerflow:problem:too-many-requests"
        assert await statuses(client, ["/pods"], **{"x-name": "bob"}) == [200]


async def test_a_request_is_counted_once_whatever_it_asks_and_also_where_it_is_refused() -> None:
    store = Store()
    async with made(store) as client:
        assert await statuses(client, ["/runs/01890a5d-ac96-774b-bcce-b302099a8057", "/access"], **{"x-name": "ann"}) == [404, 403]
    assert store.buckets.asked == ["name blue ann"] * 2


@pytest.mark.parametrize(
    ("address", "counted"),
    [("192.0.2.7", "address 192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"), ("testclient", "address testclient")],
)
async def test_callers_without_a_name_and_wrong_keys_are_counted_by_address(address: str, counted: str) -> None:
    store = Store()
    async with made(store, client=address) as client:
        assert await statuses(client, ["/pods"] * 3) == [401, 401, 429]
    assert set(store.buckets.asked) == {counted}
    store = Store()
    async with made(store, authenticate=nobody, client=address) as client:
        assert await statuses(client, ["/pods"] * 3) == [200, 200, 429]
    assert set(store.buckets.asked) == {counted}


async def test_probes_and_documentation_are_not_counted() -> None:
    store = Store()
    async with made(store) as client:
        assert await statuses(client, ["/healthz", "/readyz", "/docs", "/openapi.json"] * 3) == [200] * 12
    assert store.buckets.asked == []


async def test_without_an_answer_of_redis_nobody_is_refused() -> None:
    store = Store()
    store.buckets.away = True
    async with made(store) as client:
        assert await statuses(client, ["/pods"] * 5, **{"x-name": "ann"}) == [200] * 5


async def test_without_a_limit_nobody_is_counted() -> None:
    store = Store()
    async with made(store, rate=0.0) as client:
        response = await client.get("/pods", headers={"x-name": "ann"})
    assert (response.status_code, store.buckets.asked) == (200, [])
    assert "ratelimit" not in response.headers


class Blinking(Store):
    """Answers the third time."""

    async def pods(self) -> list[PodView]:
        if self.calls.count("pods") < 2:
            self._called("pods")
            raise StorageUnavailable("redis://here", "gone")
        return await super().pods()


async def test_a_read_that_the_pod_repeats_by_itself_counts_once() -> None:
    store = Blinking()
    asked: list[str] = []

    async def by_name(request: Request) -> Caller:
        asked.append("ann")
        return await by_key(request)

    async with made(store, authenticate=by_name) as client:
        answer = await client.get("/pods", headers={"x-name": "ann"})
    assert (answer.status_code, answer.headers["ratelimit"]) == (200, '"default";r=1;t=1')
    assert store.calls.count("pods") == 3
    assert (store.buckets.asked, asked) == (["name blue ann"], ["ann"])
