"""What the routes work with; `create_app` puts it into the application's state, and each route takes it as its parameter `api`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from fastapi import Depends, Request
from pydantic import JsonValue

from engine.events import Publisher
from engine.limits import Limits
from peerflow.api.body import Bodies
from peerflow.api.followers import Followers
from storage.store import Store

if TYPE_CHECKING:
    from peerflow.api.callers import Caller

Readiness = Callable[[], tuple[bool, str, dict[str, JsonValue]]]
"""Answers at once: whether the pod is ready, why not (or "ready"), and details for people."""


Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header, and answers the metrics with their media type."""
ScrapeAll = Callable[[str, str], Awaitable[tuple[bytes, str]]]
"""Takes `Accept` and `Authorization` headers, and answers the metrics of all pods that share the port."""


class RunTrace(Protocol):
    """The part of a trace in which a run is created."""

    context: str
    """What the run's attempts go on with; empty where they have nothing to go on with."""

    def end(self, run_id: str | None) -> None:
        """The run was created, or (None) not."""
        ...


BeginRunTrace = Callable[[str | None, int], RunTrace]
"""Takes the run's name and its number of tasks."""


@dataclass(frozen=True, slots=True)
class ApiContext:
    store: Store
    limits: Limits
    debug: bool
    """True opens the list of all runs."""
    readiness: Readiness
    function_names: Collection[str]
    """Task functions that this pod has registered; those of other pods are asked for when a definition names more."""
    publisher: Publisher
    bodies: Bodies
    followers: Followers
    authenticate: Callable[[Request], Awaitable[Caller]]
    scrape: Scrape | None
    """Answers `GET /metrics`; None where nothing is counted."""
    scrape_all: ScrapeAll | None
    """Answers it on a port that several pods share."""
    begin_run_trace: BeginRunTrace | None = None
    """None without tracing."""


async def _context(request: Request) -> ApiContext:
    return request.app.state.api


Api = Annotated[ApiContext, Depends(_context)]
