"""`POST /workflow`: a definition becomes a run, or with `dry_run` only a plan."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from engine import strict_json
from engine.compile import compile_document
from engine.definition import WorkflowDefinition
from engine.errors import DefinitionError, StorageUnavailable
from engine.events import RunCreated
from engine.graph import Graph
from engine.limits import Limits
from peerflow.api.callers import CallerOf
from peerflow.api.context import Api, ApiContext
from peerflow.api.describe import DEFINITION_BODY, answers
from peerflow.api.headers import IDEMPOTENCY_KEY, idempotency_key, require_json
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import Accepted, Plan
from peerflow.api.params import DryRun, only
from peerflow.api.problem import RequestRefused
from peerflow.api.refusals import RETRY_SECONDS
from storage.views import Created, NewRun

THREAD_BYTES: Final = 64 * 1024
"""Larger bodies are read in a thread: 64 KiB take about a millisecond, 16 MiB a second or more."""
CONTAINERS_PER_TASK: Final = 20
"""A task with everything set has six objects and arrays, besides those in its arguments."""

router = APIRouter()


@router.post(
    "/workflow",
    status_code=202,
    response_class=JsonAnswer,
    responses={
        **answers(Accepted, "The run is stored", 400, 408, 413, 415, 422, 507, status=202),
        200: {"model": Plan, "description": "With `dry_run=true`: what the definition would become"},
    },
    openapi_extra={
        **DEFINITION_BODY,
        "parameters": [
            {
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "description": "Makes repeating the request safe: the same key and body give the same run.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        ],
    },
    dependencies=[Depends(only("dry_run"))],
    tags=["workflows"],
    summary="Start a workflow",
)
async def submit(request: Request, api: Api, caller: CallerOf, dry_run: DryRun = False) -> Response:  # noqa: FBT002  (a query parameter)
    started = time.monotonic()
    key = idempotency_key(request)
    require_json(request)
    async with api.bodies.read(request, api.limits.body_bytes) as body:
        definition, graph = await _compiled(api, body)
        if dry_run:
            return _plan(graph)
        new = NewRun(definition, graph, key, hashlib.sha256(body).hexdigest(), caller.tenant, caller.by)
        try:
            created = await _create(api, new)
        except StorageUnavailable as error:
            raise _perhaps_stored(error, key) from error
    if not created.existing:
        seconds = time.monotonic() - started
        api.publisher.publish(
            RunCreated(run_id=created.run_id, name=graph.name, tasks=len(graph.tasks), edges=graph.edge_count, duration_seconds=seconds)
        )
    content = {
        "message": "Workflow received",
        "run_id": created.run_id,
        "status": created.state.value,
        "durability": created.durability,
    }
    return JsonAnswer(content, status_code=202, headers={"Location": f"/runs/{created.run_id}"})


async def _create(api: ApiContext, new: NewRun) -> Created:
    if api.begin_run_trace is None:
        return await api.store.create_run(new)
    trace = api.begin_run_trace(new.graph.name, len(new.graph.tasks))
    run_id: str | None = None
    try:
        created = await api.store.create_run(replace(new, trace=trace.context))
        run_id = created.run_id
        return created
    finally:
        trace.end(run_id)


async def _compiled(api: ApiContext, body: bytes) -> tuple[WorkflowDefinition, Graph]:
    """The definition and its graph. Functions that this pod does not know are looked up among those of the other living pods."""
    try:
        return await _in_thread_if_large(body, api.function_names, api.limits)
    except DefinitionError as error:
        if not any(problem.code == "unknown-function" for problem in error.problems):
            raise
    everywhere = {*api.function_names, *await api.store.functions()}
    return await _in_thread_if_large(body, everywhere, api.limits)


async def _in_thread_if_large(body: bytes, functions: Collection[str], limits: Limits) -> tuple[WorkflowDefinition, Graph]:
    if len(body) <= THREAD_BYTES:
        return _compile(body, functions, limits)
    return await asyncio.to_thread(_compile, body, functions, limits)


def _compile(body: bytes, functions: Collection[str], limits: Limits) -> tuple[WorkflowDefinition, Graph]:
    if not body:
        raise RequestRefused(
            400, "body-empty", "the request has no body", remedy="send a workflow as JSON; /docs has examples", pointer="body"
        )
    _refuse_too_many_values(body, limits)
    try:
        value = strict_json.parse(body, depth=limits.depth)
    except DefinitionError as error:
        raise RequestRefused.with_problems(400, "json-invalid", error.problems) from None
    return compile_document(value, functions=functions, limits=limits)


def _refuse_too_many_values(body: bytes, limits: Limits) -> None:
    """Refuses what would become hundreds of megabytes of empty objects. Braces inside strings count too: nobody needs that many."""
    containers, most = body.count(b"{") + body.count(b"["), limits.tasks * CONTAINERS_PER_TASK
    if containers > most:
        raise RequestRefused(
            400,
            "json-invalid",
            f"the body has {containers} objects and arrays; the limit is {most}, {CONTAINERS_PER_TASK} for each of {limits.tasks} tasks",
            remedy="split the workflow, or keep data elsewhere and pass their address",
            code="limit-exceeded",
        )


def _plan(graph: Graph) -> Response:
    content = {"tasks": len(graph.tasks), "edges": graph.edge_count, "order": graph.order(), "critical_path": graph.critical_path()}
    return JsonAnswer(content)


def _perhaps_stored(error: StorageUnavailable, key: str | None) -> RequestRefused:
    """No answer came, so the run may be stored: the caller must know how to ask again without a second run."""
    again = (
        "send the same request with the same Idempotency-Key again"
        if key
        else "send it with an Idempotency-Key, then it can be repeated safely"
    )
    detail = f"{error}; whether the run was stored is unknown"
    return RequestRefused(503, "storage-unavailable", detail, remedy=again, headers={"Retry-After": str(RETRY_SECONDS)})
