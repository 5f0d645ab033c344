"""Reading runs: one, one with its tasks, its definition, and the list of all."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fastapi import APIRouter, Depends
from starlette.responses import Response

from engine.definition import WorkflowDefinition
from peerflow.api.callers import CallerOf
from peerflow.api.context import Api, ApiContext
from peerflow.api.describe import answers
from peerflow.api.json_answer import JsonAnswer, encode
from peerflow.api.models import RunDetail, RunPage, WorkflowStatus
from peerflow.api.params import (
    DEFAULT_PAGE,
    CreatedAfter,
    CreatedBefore,
    Cursor,
    Label,
    Limit,
    Name,
    OfTenant,
    RunId,
    RunStatus,
    bad_cursor,
    label_of,
    millis_of,
    only,
    read_cursor,
    run_id_of,
    write_cursor,
)
from peerflow.api.problem import RequestRefused
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import run_object, run_summary, small_definition
from peerflow.api.task_pages import SLICE, read_page, start_of
from peerflow.api.tenancy import tenant_seen
from storage.views import RunView

STATUS_TASKS: Final = 10_000
CURSOR: Final = "runs"

router = APIRouter(tags=["runs"], default_response_class=JsonAnswer, route_class=ReadRoute)


async def _open_list(api: Api, caller: CallerOf) -> None:
    if not api.debug and not caller.identified:
        raise RequestRefused(
            403,
            "list-closed",
            "GET /runs shows every run to whoever reaches this pod, so it is closed",
            remedy="start the pod with API keys, or with DEBUG=true to open it; a single run can always be read by its run_id",
        )


async def _with_reason(api: ApiContext, run: RunView) -> RunView:
    """A run of which nothing runs says why."""
    reason = await api.store.why_nothing_runs(run)
    return run if reason is None else replace(run, reason=reason)


@router.get(
    "/workflow_status/{run_id}",
    responses=answers(WorkflowStatus, "The run and its tasks", 400, 404),
    dependencies=[Depends(only("cursor"))],
    summary="Read a run and all its tasks",
)
async def workflow_status(api: Api, run_id: RunId, cursor: Cursor = None) -> Response:
    run_id, start = run_id_of(run_id), start_of(cursor)
    graph = await api.store.get_graph(run_id)
    # One moment for the run and its first tasks. Later slices are younger, so a run shown as finished never has an unfinished task.
    run, first = await api.store.get_run_and_tasks(run_id, start=start, count=SLICE)
    run = await _with_reason(api, run)
    page = await read_page(api.store, run_id, total=run.total, start=start, limit=STATUS_TASKS, first=first)
    return JsonAnswer(page.close_answer(encode(run_object(run, graph))))


@router.get(
    "/runs",
    responses=answers(RunPage, "Runs, newest first", 400, 403),
    dependencies=[
        Depends(_open_list),
        Depends(only("status", "name", "label", "tenant", "created_after", "created_before", "cursor", "limit")),
    ],
    summary="List runs (with an API key or a token, or with DEBUG=true)",
)
async def list_runs(
    api: Api,
    caller: CallerOf,
    status: RunStatus = None,
    name: Name = None,
    label: Label = None,
    tenant: OfTenant = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    place = read_cursor(CURSOR, cursor)
    try:
        page = await api.store.list_runs(
            tenant=tenant_seen(caller, tenant),
            status=status,
            name=name,
            label=label_of(label),
            after_ms=millis_of(created_after),
            before_ms=millis_of(created_before),
            cursor=place,
            limit=limit,
        )
    except ValueError:
        raise bad_cursor() from None
    content = {
        "runs": [run_summary(run) for run in page.runs],
        "next_cursor": None if page.next_cursor is None else write_cursor(CURSOR, page.next_cursor),
    }
    return JsonAnswer(content)


@router.get(
    "/runs/{run_id}",
    responses=answers(RunDetail, "The run", 400, 404),
    dependencies=[Depends(only())],
    summary="Read a run without its tasks",
)
async def read_run(api: Api, run_id: RunId) -> Response:
    run_id = run_id_of(run_id)
    run = await _with_reason(api, await api.store.get_run(run_id))
    graph = await api.store.get_graph(run_id)
    return JsonAnswer({**run_object(run, graph), "definition": small_definition(graph)})


@router.get(
    "/runs/{run_id}/definition",
    responses=answers(WorkflowDefinition, "The definition, ready to be posted again", 400, 404),
    dependencies=[Depends(only())],
    summary="Read what was posted",
)
async def read_definition(api: Api, run_id: RunId) -> Response:
    run_id = run_id_of(run_id)
    # The graph may still be in this pod's memory when the run is gone.
    await api.store.get_run(run_id)
    graph = await api.store.get_graph(run_id)
    return JsonAnswer(graph.definition.to_json().encode())
