"""Parts of a run: its tasks page by page, one task, its events."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from engine.errors import TaskNotFound
from engine.ids import is_id
from peerflow.api.context import Api
from peerflow.api.describe import answers
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import EventPage, TaskDetail, TaskPage
from peerflow.api.params import DEFAULT_PAGE, After, Cursor, Limit, RunId, TaskId, TaskStatus, only, run_id_of
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import attempt_object, effect_object, event_object, task_object
from peerflow.api.task_pages import read_page, start_of

router = APIRouter(tags=["runs"], default_response_class=JsonAnswer, route_class=ReadRoute)


@router.get(
    "/runs/{run_id}/tasks",
    responses=answers(TaskPage, "Tasks in the definition's order", 400, 404),
    dependencies=[Depends(only("status", "cursor", "limit"))],
    summary="Read a run's tasks page by page",
)
async def list_tasks(api: Api, run_id: RunId, status: TaskStatus = None, cursor: Cursor = None, limit: Limit = DEFAULT_PAGE) -> Response:
    run_id, start = run_id_of(run_id), start_of(cursor)
    run = await api.store.get_run(run_id)
    page = await read_page(api.store, run_id, total=run.total, start=start, limit=limit, status=status)
    return JsonAnswer(page.close_answer(b"{}"))


@router.get(
    "/runs/{run_id}/tasks/{task_id}",
    responses=answers(TaskDetail, "The task, its earlier attempts, its effects", 400, 404),
    dependencies=[Depends(only())],
    summary="Read one task",
)
async def read_task(api: Api, run_id: RunId, task_id: TaskId) -> Response:
    run_id = run_id_of(run_id)
    if not is_id(task_id):
        raise TaskNotFound(run_id, task_id)
    task = await api.store.get_task(run_id, task_id)
    attempts = await api.store.get_attempts(run_id, task_id)
    effects = await api.store.get_effects(run_id, task_id)
    return JsonAnswer(
        {
            **task_object(task),
            "attempts_log": [attempt_object(attempt) for attempt in attempts],
            "effects": [effect_object(effect) for effect in effects],
        }
    )


@router.get(
    "/runs/{run_id}/events",
    responses=answers(EventPage, "Events in the order in which they happened", 400, 404),
    dependencies=[Depends(only("after", "limit"))],
    summary="Read a run's history",
)
async def list_events(api: Api, run_id: RunId, after: After = 0, limit: Limit = DEFAULT_PAGE) -> Response:
    # One more than asked for tells whether there is a next page.
    found = await api.store.get_events(run_id_of(run_id), after=after, limit=limit + 1)
    events = found[:limit]
    return JsonAnswer({"events": [event_object(event) for event in events], "next_after": events[-1].seq if len(found) > limit else None})
