"""Puts the HTTP API together. Everything it needs comes as an argument; it starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from engine.events import Publisher
from peerflow.api import access, cluster, control, describe, docs_page, explain, health, logs, metrics, refusals, run_parts, runs, submit
from peerflow.api.body import Bodies
from peerflow.api.callers import Authenticate, Scope, anybody, needs
from peerflow.api.context import ApiContext, BeginRunTrace, Readiness, Scrape, ScrapeAll
from peerflow.api.followers import Followers
from peerflow.api.measured import Measured, OnRequest
from peerflow.api.outermost import Outermost
from peerflow.api.rate_limit import limited
from peerflow.api.tenancy import own_run
from peerflow.settings import Settings
from storage.store import Store

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

ROUTES: tuple[tuple[APIRouter, Scope | None], ...] = (
    (submit.router, Scope.SUBMIT),
    (runs.router, Scope.READ),
    (run_parts.router, Scope.READ),
    (explain.router, Scope.READ),
    (logs.router, Scope.READ),
    (control.router, Scope.CONTROL),
    (cluster.router, Scope.READ),
    (metrics.router, Scope.READ),
    (access.router, Scope.ADMIN),
    (health.router, None),
)
"""Every route, and the scope that it takes; None is open to everybody, and for what is nobody's. Before all others stands `own_run`."""

TAGS = [
    {"name": "workflows", "description": "Start a run."},
    {"name": "runs", "description": "Read and control runs."},
    {"name": "pods", "description": "Who is there, and what can be called."},
    {"name": "access", "description": "Who did what."},
    {"name": "operations", "description": "For probes and monitoring."},
]


def create_app(
    store: Store,
    *,
    settings: Settings,
    readiness: Readiness,
    function_names: Collection[str],
    publisher: Publisher,
    authenticate: Authenticate = anybody,
    scrape: Scrape | None = None,
    scrape_all: ScrapeAll | None = None,
    on_request: OnRequest | None = None,
    begin_run_trace: BeginRunTrace | None = None,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application of one pod.

    `store` need not have reached its server yet: calls answer 503 until it has. `readiness` is asked by `/readyz` and answers at once.
    `function_names` are what this pod has registered. `authenticate` says who sent a request. `scrape` answers `/metrics`, `on_request`
    hears how each request ended, `begin_run_trace` is called for each run that is created. `lifespan` starts and ends whatever else runs
    in the process.
    """
    app = FastAPI(
        title="peerflow",
        version=_version(),
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the caller's Host header; an address with a slash too many is answered 404, with that remedy.
        redirect_slashes=False,
        lifespan=lifespan,
        # Nothing about requests leaves the pod because an OTEL_* variable happens to be set.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    rate = settings.rate_limit_per_second
    app.state.api = ApiContext(
        store=store,
        limits=settings.limits,
        debug=settings.debug,
        readiness=readiness,
        function_names=function_names,
        publisher=publisher,
        bodies=Bodies(max(settings.limit_body_bytes, settings.limit_other_body_bytes)),
        followers=Followers(store),
        authenticate=limited(authenticate, store.tokens(per_second=rate, burst=settings.rate_limit_burst)) if rate else authenticate,
        scrape=scrape,
        scrape_all=scrape_all,
        begin_run_trace=begin_run_trace,
    )
    for router, scope in ROUTES:
        app.include_router(router, dependencies=[] if scope is None else [Depends(needs(scope)), Depends(own_run)])
    refusals.install(app)
    describe.install(app, scopes_of_routes(), asks_for_credentials=authenticate is not anybody)
    docs_page.install(app)
    if on_request is not None:
        app.add_middleware(Measured, on_request=on_request)
    app.add_middleware(Outermost, publisher=publisher, hsts_seconds=settings.hsts_seconds)
    return app


def scopes_of_routes() -> dict[tuple[str, str], Scope | None]:
    """Path and method of each route of ROUTES → the scope that it takes."""
    return {
        (route.path, method.lower()): scope
        for router, scope in ROUTES
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _version() -> str:
    # `peerflow.__version__` says the same, but importing it from there would bring the scheduler in.
    try:
        return version("peerflow")
    except PackageNotFoundError:
        return "0"
