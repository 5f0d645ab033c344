"""`POST /runs/{run_id}/cancel`: ends a run, unless it has ended first."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from engine import strict_json
from engine.errors import DefinitionError
from engine.events import RunCancelled
from engine.problems import shown
from peerflow.api.callers import CallerOf
from peerflow.api.context import Api, ApiContext
from peerflow.api.describe import CANCEL_BODY, answers
from peerflow.api.headers import require_json
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import Cancelled
from peerflow.api.params import RunId, only, run_id_of
from peerflow.api.problem import RequestRefused

LONGEST_REASON: Final = 500
DEFAULT_REASON: Final = "cancelled by a caller"

router = APIRouter(tags=["runs"], default_response_class=JsonAnswer)


@router.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    responses=answers(Cancelled, "Nothing of it starts any more; running code is asked to stop", 400, 404, 409, 413, 415, 422, status=202),
    openapi_extra=CANCEL_BODY,
    dependencies=[Depends(only())],
    summary="Cancel a run",
)
async def cancel(request: Request, api: Api, caller: CallerOf, run_id: RunId) -> Response:
    run_id = run_id_of(run_id)
    reason = await _reason(request, api)
    cancelled = await api.store.cancel(run_id, reason or DEFAULT_REASON, caller=caller.by)
    api.publisher.publish(RunCancelled(run_id=run_id, reason=reason))
    return JsonAnswer({"run_id": run_id, "status": cancelled.state.value}, status_code=202)


async def _reason(request: Request, api: ApiContext) -> str | None:
    """The reason in the body; None where there is no body."""
    async with api.bodies.read(request, api.limits.other_body_bytes) as body:
        if not body:
            return None
        require_json(request)
        try:
            value = strict_json.parse(body, depth=api.limits.depth)
        except DefinitionError as error:
            raise RequestRefused.with_problems(400, "json-invalid", error.problems) from None
    if not isinstance(value, dict) or value.keys() - {"reason"}:
        raise _refused("", 'the body is not {"reason": "…"}')
    reason = value.get("reason")
    if reason is None:
        return None
    if not isinstance(reason, str) or not 1 <= len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise _refused("/reason", f"reason ({shown(reason)}) is not valid")
    return reason


def _refused(pointer: str, message: str) -> RequestRefused:
    remedy = f'send no body, or {{"reason": "…"}} with 1 to {LONGEST_REASON} characters on one line'
    return RequestRefused(422, "body-invalid", message, remedy=remedy, pointer=pointer, code="invalid-value")
