"""The HTTP API from Python: one synchronous, typed client.

    from peerflow.client import Client

    with Client("http://127.0.0.1:8000,http://127.0.0.1:8001") as client:
        submitted = client.submit({"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}]})
        run = client.wait(submitted.run_id)
        print(run.status, [task.result for task in client.tasks(run.run_id)])

Every call raises ApiError where a pod refuses (its problem document in fields) and PodUnreachable where no address answers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from engine.definition import WorkflowDefinition
from engine.states import RunState, TaskState
from engine.strict_json import dumps
from peerflow.answers import (
    AccessEntry,
    AccessPage,
    Answer,
    Event,
    EventPage,
    Explanation,
    Function,
    FunctionList,
    LogLine,
    LogPage,
    Plan,
    Pod,
    PodList,
    Readiness,
    Run,
    RunPage,
    RunStatus,
    Submitted,
    Task,
    TaskPage,
)
from peerflow.connection import DEFAULT_URL, ApiError, Connection, PodUnreachable

__all__ = ["DEFAULT_URL", "ApiError", "Client", "Definition", "PodUnreachable", "WaitTimedOut"]

Definition = WorkflowDefinition | Mapping[str, object] | bytes
"""A model, a JSON object, or the bytes of a JSON document, which go out as they are."""

AnswerType = TypeVar("AnswerType", bound=Answer)
PAGE = 500
# Polls of `wait`: quick for short runs, one a second for long ones.
FIRST_POLL_SECONDS = 0.1
LAST_POLL_SECONDS = 1.0


class WaitTimedOut(TimeoutError):
    """The run had not finished in time; it goes on. `run` is its last known state."""

    def __init__(self, run: Run, timeout_seconds: float) -> None:
        self.run = run
        super().__init__(f"run {run.run_id} is still {run.status} after {timeout_seconds:g} s ({run.done} of {run.total} tasks done)")


class Client:
    """Speaks to any of the pods in `urls` (one text with commas, or a sequence), failing over between them.

    `api_key` is an API key, or a token of the pods' OIDC provider; pods without keys need none. `patience_seconds` is how long a call
    goes on asking while no pod answers (0: each address is asked once); `timeout_seconds`
    bounds one request. A client is not shared between threads; it is cheap to make one for each.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        api_key: str | None = None,
        patience_seconds: float = 10.0,
        timeout_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self.connection = Connection(
            urls,
            api_key=api_key,
            patience_seconds=patience_seconds,
            timeout_seconds=timeout_seconds,
            transport=transport,
            clock=clock,
            sleep=sleep,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    def submit(self, definition: Definition, *, idempotency_key: str | None = None) -> Submitted:
        """Stores and starts a run. Without a key of the caller's it sends a random one, so that a lost answer makes no second run."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._post("/workflow", Submitted, content=_body(definition), headers=headers)

    def plan(self, definition: Definition) -> Plan:
        """What the definition would become, by a pod's own rules; nothing is stored."""
        headers = {"Content-Type": "application/json"}
        return self._post("/workflow", Plan, params={"dry_run": "true"}, content=_body(definition), headers=headers)

    def run(self, run_id: str) -> Run:
        return self._get(f"/runs/{_part(run_id)}", Run)

    def status(self, run_id: str) -> RunStatus:
        """The run and all its tasks; for runs of many tasks `run` and `tasks` move less at a time."""
        first = self.connection.get(f"/workflow_status/{_part(run_id)}")
        status = _parse(first, RunStatus)
        cursor = _parse(first, TaskPage).next_cursor
        tasks = list(status.tasks)
        while cursor is not None:
            page = self.task_page(run_id, cursor=cursor)
            tasks.extend(page.tasks)
            cursor = page.next_cursor
        return status.model_copy(update={"tasks": tasks, "next_cursor": None})

    def wait(self, run_id: str, *, timeout_seconds: float | None = None) -> Run:
        """The run once it has finished; raises WaitTimedOut where it has not in time."""
        deadline = None if timeout_seconds is None else self._clock() + timeout_seconds
        pause_seconds = FIRST_POLL_SECONDS
        while True:
            run = self.run(run_id)
            if run.finished:
                return run
            if deadline is not None and timeout_seconds is not None and self._clock() + pause_seconds > deadline:
                raise WaitTimedOut(run, timeout_seconds)
            self._sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.3, LAST_POLL_SECONDS)

    def runs(
        self, *, status: RunState | None = None, name: str | None = None, label: str | None = None, tenant: str | None = None
    ) -> Iterator[Run]:
        """Runs, newest first, fetched page by page as they are taken; `label` is `key=value`, `tenant` for callers who see all tenants."""
        params: dict[str, str | int | None] = {"status": status, "name": name, "label": label, "tenant": tenant, "limit": 100}
        while True:
            page = self._get("/runs", RunPage, params)
            yield from page.runs
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    def access(self, *, tenant: str | None = None) -> Iterator[AccessEntry]:
        """Who submitted and cancelled runs, newest first, fetched page by page as they are taken. Takes a key with the scope `admin`."""
        params: dict[str, str | int | None] = {"tenant": tenant, "limit": 100}
        while True:
            page = self._get("/access", AccessPage, params)
            yield from page.entries
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    def tasks(self, run_id: str, *, status: TaskState | None = None) -> Iterator[Task]:
        """The run's tasks in the order of the definition, fetched page by page as they are taken."""
        cursor: str | None = None
        while True:
            page = self.task_page(run_id, status=status, cursor=cursor)
            yield from page.tasks
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    def task_page(self, run_id: str, *, status: TaskState | None = None, cursor: str | None = None, limit: int = PAGE) -> TaskPage:
        return self._get(f"/runs/{_part(run_id)}/tasks", TaskPage, {"status": status, "cursor": cursor, "limit": limit})

    def task(self, run_id: str, task_id: str) -> Task:
        return self._get(f"/runs/{_part(run_id)}/tasks/{_part(task_id)}", Task)

    def events(self, run_id: str, *, after: int = 0) -> Iterator[Event]:
        """The run's history after the event with that number, to its present end."""
        while True:
            page = self._get(f"/runs/{_part(run_id)}/events", EventPage, {"after": after, "limit": PAGE})
            yield from page.events
            if not page.events or page.next_after is None:
                return
            after = page.next_after

    def logs(self, run_id: str, *, task: str | None = None, attempt: int | None = None, after: str | None = None) -> Iterator[LogLine]:
        """What tasks have printed and logged, to its present end; `after` is the id of a line, or the `last` of a page."""
        while True:
            page = self.log_page(run_id, task=task, attempt=attempt, after=after)
            yield from page.lines
            if page.next_after is None:
                return
            after = page.next_after

    def log_page(
        self, run_id: str, *, task: str | None = None, attempt: int | None = None, after: str | None = None, limit: int = PAGE
    ) -> LogPage:
        params = {"task": task, "attempt": attempt, "after": after, "limit": limit}
        return self._get(f"/runs/{_part(run_id)}/logs", LogPage, params)

    def explain(
        self, run_id: str, *, task: str | None = None, unended: bool = False, after: int = 0, limit: int | None = None
    ) -> Explanation:
        """Why tasks do not run, now and before: one task, or a page of them; with `unended` only those that have not ended."""
        params: dict[str, str | int | None] = {"task": task, "unended": "true" if unended else None, "after": after or None, "limit": limit}
        return self._get(f"/runs/{_part(run_id)}/explain", Explanation, params)

    def cancel(self, run_id: str, *, reason: str | None = None) -> Submitted:
        """Asks for the end of a run; raises ApiError with status 409 where it had finished first."""
        content = None if reason is None else dumps({"reason": reason}).encode()
        headers = {} if reason is None else {"Content-Type": "application/json"}
        return self._post(f"/runs/{_part(run_id)}/cancel", Submitted, content=content, headers=headers)

    def functions(self) -> list[Function]:
        return self._get("/tasks", FunctionList).tasks

    def pods(self) -> list[Pod]:
        return self._get("/pods", PodList).pods

    def readiness(self) -> Readiness:
        return _parse(self.connection.request("GET", "/readyz", accept=frozenset({503})), Readiness)

    def _get(self, path: str, answer: type[AnswerType], params: Mapping[str, str | int | None] | None = None) -> AnswerType:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return _parse(self.connection.get(path, given), answer)

    def _post(
        self,
        path: str,
        answer: type[AnswerType],
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
    ) -> AnswerType:
        return _parse(self.connection.request("POST", path, params=params, content=content, headers=headers), answer)


def _body(definition: Definition) -> bytes:
    if isinstance(definition, bytes):
        return definition
    if isinstance(definition, WorkflowDefinition):
        return definition.model_dump_json(exclude_unset=True).encode()
    return dumps(dict(definition)).encode()


def _part(text: str) -> str:
    """One segment of a path; an empty id must not turn a question about one run into one about all."""
    return quote(text, safe="") or "-"


def _parse(response: httpx.Response, answer: type[AnswerType]) -> AnswerType:
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        address = str(response.request.url.copy_with(path="/", query=None)).rstrip("/")
        first = error.errors()[0]
        detail = f"{address} answers, but not like a peerflow pod: {'.'.join(map(str, first['loc']))} {first['msg']}".replace(":  ", ": ")
        raise ApiError(address, response.status_code, type_="about:blank", title="not an answer of peerflow", detail=detail) from None
