"""`GET /access`: who did what to runs."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends
from starlette.responses import Response

from peerflow.api.callers import CallerOf
from peerflow.api.context import Api
from peerflow.api.describe import answers
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import AccessPage
from peerflow.api.params import DEFAULT_PAGE, Cursor, Limit, OfTenant, bad_cursor, only, read_cursor, write_cursor
from peerflow.api.problem import RequestRefused
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import access_object
from peerflow.api.tenancy import tenant_seen

CURSOR: Final = "access"

router = APIRouter(tags=["access"], default_response_class=JsonAnswer, route_class=ReadRoute)


async def _callers_have_names(caller: CallerOf) -> None:
    if not caller.identified:
        raise RequestRefused(
            403,
            "list-closed",
            "GET /access says who did what, and this pod asks nobody who they are",
            remedy="give callers keys; what they do is noted from then on",
        )


@router.get(
    "/access",
    responses=answers(AccessPage, "Who did what, newest first", 400, 403),
    dependencies=[Depends(_callers_have_names), Depends(only("tenant", "cursor", "limit"))],
    summary="Read who submitted and cancelled runs",
)
async def read_access(api: Api, caller: CallerOf, tenant: OfTenant = None, cursor: Cursor = None, limit: Limit = DEFAULT_PAGE) -> Response:
    place = read_cursor(CURSOR, cursor)
    try:
        page = await api.store.access_log.read(tenant=tenant_seen(caller, tenant), cursor=place, limit=limit)
    except ValueError:
        raise bad_cursor() from None
    content = {
        "entries": [access_object(entry) for entry in page.entries],
        "next_cursor": None if page.next_cursor is None else write_cursor(CURSOR, page.next_cursor),
    }
    return JsonAnswer(content)
