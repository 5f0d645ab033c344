"""`GET /runs/{run_id}/logs`: what tasks have printed and logged, page by page or as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from fastapi import APIRouter, Depends
from starlette.responses import Response

from engine.errors import RunNotFound, TaskNotFound
from engine.graph import Graph
from engine.ids import is_id
from peerflow.api.context import Api
from peerflow.api.describe import answers
from peerflow.api.followers import LOOK_SECONDS, Followers
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.log_models import LogPage
from peerflow.api.params import DEFAULT_PAGE, AfterLine, Follow, LastEventId, Limit, OneAttempt, OneTask, RunId, only, run_id_of
from peerflow.api.problem import RequestRefused
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import Json, instant
from peerflow.api.server_sent import EventStream, Told
from storage import log_reading
from storage.repeat import until_answered
from storage.store import Store
from storage.task_logs import BEGINNING, LogLine, LogPlace

router = APIRouter(tags=["runs"], default_response_class=JsonAnswer, route_class=ReadRoute)
LINES_AT_ONCE = 500
LAST_LINE = 1_000_000
"""Behind every line of a piece."""


@router.get(
    "/runs/{run_id}/logs",
    responses=answers(LogPage, "Lines by time; with `follow`, `text/event-stream`: an event `line` for each, then `end`", 400, 404),
    dependencies=[Depends(only("task", "attempt", "after", "limit", "follow"))],
    summary="Read what tasks have printed and logged",
)
async def read_logs(
    api: Api,
    run_id: RunId,
    *,
    task: OneTask = None,
    attempt: OneAttempt = None,
    after: AfterLine = None,
    limit: Limit = DEFAULT_PAGE,
    follow: Follow = False,
    last_event_id: LastEventId = None,
) -> Response:
    asked = Asked(run_id_of(run_id), task, attempt)
    place = _place(after if last_event_id is None else last_event_id)
    if attempt is not None and task is None:
        raise RequestRefused(400, "query-invalid", "attempt asks for one of a task", remedy="give task as well", pointer="query/attempt")
    if task is not None and not is_id(task):
        raise _unknown(TaskNotFound(run_id, task))
    try:
        page = await asked.page(api.store, place, limit)
        if follow:
            graph = (await api.store.get_graph(run_id)).graph
            # The place is taken here, where a refusal is still an answer.
            held = ExitStack()
            held.enter_context(api.followers.place())
            return EventStream(_follow(api.store, api.followers, graph, asked, page), on_end=held.close)
        dropped = await api.store.log_dropped(run_id, task_id=task, attempt=attempt)
    except TaskNotFound as error:
        raise _unknown(error) from None
    lines = sorted(page.lines, key=lambda line: line.at_ms)
    return JsonAnswer(
        {
            "run_id": run_id,
            "lines": [line_object(line) for line in lines],
            "dropped": dropped,
            "next_after": str(page.last) if page.more else None,
            "last": str(page.last),
        }
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose lines a client wants."""

    run_id: str
    task_id: str | None
    attempt: int | None

    async def page(self, store: Store, after: LogPlace, limit: int) -> log_reading.LogPage:
        return await store.get_log(self.run_id, task_id=self.task_id, attempt=self.attempt, after=after, limit=limit)

    def wants(self, line: LogLine) -> bool:
        return self.task_id in {None, line.task_id} and self.attempt in {None, line.attempt}


async def _follow(store: Store, followers: Followers, graph: Graph, asked: Asked, page: log_reading.LogPage) -> AsyncGenerator[list[Told]]:
    """What is there, then what comes, until the run has ended; where the pod leaves, the client comes back to another."""
    try:
        yield _told(page.lines)
        while page.more:
            page = await _next(store, asked, page)
            yield _told(page.lines)
        with followers.tail(asked.run_id, page.seen) as tail:
            while True:
                over = tail.over or followers.closed
                pieces = None if page.more else tail.behind(page.seen)
                if pieces is None:
                    # More than the tail keeps has come since this client last read.
                    page = await _next(store, asked, page)
                    lines = page.lines
                else:
                    lines = [line for piece in pieces for line in store.lines_of(graph, piece) if asked.wants(line)]
                    seen = pieces[-1].place if pieces else page.seen
                    page = replace(page, seen=seen, last=LogPlace(seen, LAST_LINE))
                if over and not lines and not page.more:
                    break
                yield _told(lines)
                if not lines:
                    await tail.wait(LOOK_SECONDS)
        if not followers.closed:
            yield [Told("end", {"run_id": asked.run_id, "status": tail.state.value})]
    except RunNotFound:
        return  # its retention was over while it was followed


async def _next(store: Store, asked: Asked, page: log_reading.LogPage) -> log_reading.LogPage:
    return await until_answered(lambda: asked.page(store, page.last, LINES_AT_ONCE))


def _told(lines: list[LogLine]) -> list[Told]:
    return [Told("line", line_object(line), str(line.place)) for line in lines]


def line_object(line: LogLine) -> Json:
    return {
        "id": str(line.place),
        "at": instant(line.at_ms),
        "task": line.task_id,
        "attempt": line.attempt,
        "pod": line.pod,
        "stream": line.stream,
        "level": line.level,
        "logger": line.logger,
        "text": line.text,
    }


def _place(text: str | None) -> LogPlace:
    if text is None:
        return BEGINNING
    place = LogPlace.parse(text)
    if place is None:
        remedy = "give the next_after or last of a page, or the id of a line, such as 17-3"
        raise RequestRefused(400, "query-invalid", "after is no place in a log", remedy=remedy, pointer="query/after")
    return place


def _unknown(error: TaskNotFound) -> RequestRefused:
    remedy = f"GET /runs/{error.run_id}/tasks lists its tasks"
    return RequestRefused(404, "task-not-found", str(error), remedy=remedy, pointer="query/task")
