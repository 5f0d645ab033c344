"""An application around a canned store, and a client that speaks to it without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from engine.events import Event
from peerflow.api import create_app
from peerflow.api.callers import Authenticate, anybody
from peerflow.api.models import ProblemDocument
from peerflow.settings import Settings
from tests.support.canned_store import CannedStore

FUNCTIONS = frozenset({"task_a", "task_b", "task_c", "echo", "sleep"})


@dataclass
class Recorder:
    """A publisher that keeps what is published."""

    events: list[Event] = field(default_factory=list[Event])

    def publish(self, event: Event, /) -> None:
        self.events.append(event)


@dataclass
class Pod:
    """One pod's API: its application, its store, its client, and what it published."""

    app: FastAPI
    store: CannedStore
    client: httpx.AsyncClient
    recorder: Recorder
    ready: list[Any]

    async def refused(self, method: str, path: str, status: int, **request: Any) -> ProblemDocument:
        """The problem document of a request that is refused with this status."""
        response = await self.client.request(method, path, **request)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        document = ProblemDocument.model_validate_json(response.content)
        assert document.status == status
        assert document.errors
        assert all(item.message and item.remedy and item.code for item in document.errors)
        return document

    async def get(self, path: str) -> Any:
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return json.loads(response.content)

    async def post(self, definition: object, path: str = "/workflow", **headers: str) -> httpx.Response:
        return await self.client.post(path, json=definition, headers=headers)


def make_pod(*, authenticate: Authenticate = anybody, **settings: Any) -> Pod:
    store, recorder = CannedStore(), Recorder()
    ready: list[Any] = [True, "ready", {"claimed": 0}]
    app = create_app(
        store.as_store(),
        settings=Settings.model_validate({"debug": False, **settings}),
        readiness=lambda: (ready[0], ready[1], ready[2]),
        function_names=FUNCTIONS,
        publisher=recorder,
        authenticate=authenticate,
    )
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://pod")
    return Pod(app, store, client, recorder, ready)


@pytest.fixture
async def pod() -> AsyncGenerator[Pod]:
    made = make_pod(debug=True)
    async with made.client:
        yield made


@pytest.fixture
async def closed_pod() -> AsyncGenerator[Pod]:
    """A pod without DEBUG."""
    made = make_pod()
    async with made.client:
        yield made
