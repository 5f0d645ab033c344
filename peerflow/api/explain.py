"""`GET /runs/{run_id}/explain`: why tasks do not run, now and before."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from engine.errors import TaskNotFound
from engine.explain import Interval
from engine.ids import is_id
from peerflow.api.context import Api
from peerflow.api.describe import answers
from peerflow.api.explain_models import Explanation
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.params import DEFAULT_PAGE, AfterTask, Limit, OneTask, RunId, Unended, only, run_id_of
from peerflow.api.problem import RequestRefused
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import Json, instant
from storage.explained import Explained, Link, ReasonNow, TaskExplanation

router = APIRouter(tags=["runs"], default_response_class=JsonAnswer, route_class=ReadRoute)


@router.get(
    "/runs/{run_id}/explain",
    responses=answers(Explanation, "Each task's reason now, its root cause, and what it waited for", 400, 404),
    dependencies=[Depends(only("task", "unended", "after", "limit"))],
    summary="Explain why tasks do not run",
)
async def explain(
    api: Api, run_id: RunId, *, task: OneTask = None, unended: Unended = False, after: AfterTask = 0, limit: Limit = DEFAULT_PAGE
) -> Response:
    run_id = run_id_of(run_id)
    if task is None:
        return JsonAnswer(explanation_object(await api.store.explain(run_id, start=after, count=limit, unended=unended)))
    if after or unended:
        raise RequestRefused(
            400,
            "query-invalid",
            "task asks for one task, after and unended for a page of them",
            remedy="give task alone, or leave it out",
            pointer="query/task",
        )
    if not is_id(task):
        raise _unknown(TaskNotFound(run_id, task))
    try:
        return JsonAnswer(explanation_object(await api.store.explain_task(run_id, task)))
    except TaskNotFound as error:
        raise _unknown(error) from None


def _unknown(error: TaskNotFound) -> RequestRefused:
    remedy = f"GET /runs/{error.run_id}/tasks lists its tasks"
    return RequestRefused(404, "task-not-found", str(error), remedy=remedy, pointer="query/task")


def explanation_object(explained: Explained) -> Json:
    return {
        "run_id": explained.run.run_id,
        "status": explained.run.state.value,
        "at": instant(explained.now_ms),
        "tasks": [_task(task, explained.now_ms) for task in explained.tasks],
        "next_after": explained.next_start,
    }


def _task(task: TaskExplanation, now_ms: int) -> Json:
    return {
        "id": task.id,
        "task": task.function,
        "queue": task.queue,
        "status": task.state.value,
        "now": _now(task.now),
        "chain": [_link(link) for link in task.chain],
        "chain_length": task.chain_length,
        "summary": task.summary,
        "waited_seconds": {reason.value: length / 1000 for reason, length in task.waited_ms.items()},
        "intervals": [_interval(part, now_ms) for part in task.intervals],
        "intervals_left_out": task.left_out,
    }


def _now(now: ReasonNow) -> Json:
    return {
        "code": now.reason.value,
        "text": now.text,
        "since": instant(now.since_ms),
        "until": instant(now.until_ms),
        "parents": now.parents,
        "open_parents": now.open_parents,
        "pods": [
            {
                "pod_id": pod.pod_id,
                "state": pod.state,
                "running": pod.running,
                "concurrency": pod.concurrency,
                "last_seen_at": instant(pod.last_seen_at_ms),
            }
            for pod in now.pods
        ],
        "pod": now.pod,
        "attempt": now.attempt,
    }


def _link(link: Link) -> Json:
    return {"id": link.id, "status": link.state.value, "code": link.reason.value, "text": link.text}


def _interval(part: Interval, now_ms: int) -> Json:
    return {
        "code": part.reason.value,
        "from": instant(part.from_ms),
        "to": instant(part.to_ms),
        "seconds": part.length_ms(now_ms) / 1000,
        "attempt": part.attempt,
        "pod": part.pod,
    }
