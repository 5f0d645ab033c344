"""Query parameters: their types, what to do about wrong ones, and the refusal of those that a route does not have."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final

from fastapi import Header, Path, Query, Request
from pydantic import AwareDatetime

from engine.errors import Problem, RunNotFound
from engine.ids import is_run_id
from engine.states import RunState, TaskState
from peerflow.api.problem import RequestRefused

LARGEST_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
LONGEST_CURSOR: Final = 512

REMEDIES: Final[dict[str, str]] = {
    "after": "give the sequence number of the last event seen, the next_after of a page, or 0",
    "created_after": "give an instant with its time zone, such as 2026-01-01T00:00:00Z (a + is written %2B in a URL)",
    "created_before": "give an instant with its time zone, such as 2026-01-01T00:00:00Z (a + is written %2B in a URL)",
    "cursor": "give the next_cursor of the page before, or none for the first page",
    "dry_run": "give true or false",
    "label": "give key=value",
    "limit": f"give a number from 1 to {LARGEST_PAGE}",
    "unended": "give true or false",
    "attempt": "give the number of an attempt, counted from 1",
    "follow": "give true or false",
    "name": "give a name of 1 to 256 characters",
    "tenant": "give the name of a tenant, 1 to 128 characters",
}

RunId = Annotated[
    str, Path(description="Id of the run, from the answer to `POST /workflow`.", examples=["01890a5d-ac96-774b-bcce-b302099a8057"])
]
TaskId = Annotated[str, Path(description="Id of the task within its run.", examples=["task_a"])]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Items of one page.")]
After = Annotated[int, Query(ge=0, le=2**53, description="Sequence number of the last event seen.")]
AfterTask = Annotated[int, Query(ge=0, le=2**31, description="`next_after` of the page before.")]
OneTask = Annotated[str | None, Query(max_length=400, description="Only the task with this id.")]
Unended = Annotated[bool, Query(description="Only tasks that have not ended.")]
AfterLine = Annotated[str | None, Query(max_length=40, description="`next_after` or `last` of a page, or the id of a line.")]
OneAttempt = Annotated[int | None, Query(ge=1, le=2**31, description="Only this attempt of the task; takes `task`.")]
Follow = Annotated[bool, Query(description="Go on with what comes, as Server-Sent Events, until the run has ended.")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="Where a broken-off answer goes on; stands for `after`.")]
Cursor = Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="`next_cursor` of the page before.")]
DryRun = Annotated[bool, Query(description="Only compile: nothing is stored, nothing starts.")]
RunStatus = Annotated[RunState | None, Query(description="Only runs in this state.")]
TaskStatus = Annotated[TaskState | None, Query(description="Only tasks in this state.")]
Name = Annotated[str | None, Query(min_length=1, max_length=256, description="Only runs of exactly this name.")]
Label = Annotated[
    str | None, Query(max_length=400, pattern=r"^[A-Za-z0-9_.-]{1,128}=", description="Only runs with this label: `key=value`.")
]
OfTenant = Annotated[
    str | None, Query(min_length=1, max_length=128, description="Only this tenant's; for callers who see all tenants, or for one's own.")
]
CreatedAfter = Annotated[AwareDatetime | None, Query(description="Only runs created later than this instant (RFC 3339).")]
CreatedBefore = Annotated[AwareDatetime | None, Query(description="Only runs created earlier than this instant (RFC 3339).")]


def only(*names: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses every query parameter but these, and any given twice.

    A misspelt `dry_run` must not start a workflow, nor a misspelt filter list everything.
    """

    async def check(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        problems = [
            Problem("unknown-parameter", f"query/{name[:100]}", f"there is no query parameter {name[:100]!r} here", _nearest(name, names))
            for name in dict.fromkeys(given)
            if name not in names
        ]
        problems += [
            Problem("query-invalid", f"query/{name}", f"{name} is given {given.count(name)} times", "give it once")
            for name in names
            if given.count(name) > 1
        ]
        if problems:
            raise RequestRefused.with_problems(400, "query-invalid", problems[:20])

    return check


def run_id_of(text: str) -> str:
    """The id, as it is; raises RunNotFound for what cannot be the id of a run."""
    if not is_run_id(text):
        raise RunNotFound(text)
    return text


def write_cursor(kind: str, place: str) -> str:
    """An opaque cursor: `kind` names the list that it belongs to, `place` where that list goes on."""
    return base64.urlsafe_b64encode(f"{kind}:{place}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None) -> str | None:
    """The place in a cursor of this kind; None for none. Raises RequestRefused (400) for anything else."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    found, colon, place = text.partition(":")
    if not colon or found != kind or write_cursor(kind, place) != cursor:
        raise bad_cursor()
    return place


def bad_cursor() -> RequestRefused:
    return RequestRefused(400, "query-invalid", "the cursor is none that this list gave", remedy=REMEDIES["cursor"], pointer="query/cursor")


def label_of(text: str | None) -> tuple[str, str] | None:
    """`team=data` → `("team", "data")`."""
    if text is None:
        return None
    key, _, value = text.partition("=")
    return key, value


def millis_of(instant: datetime | None) -> int | None:
    """Milliseconds since the epoch."""
    return None if instant is None else int(instant.timestamp() * 1000)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name[:100], known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(known)}" if known else "leave it out"
