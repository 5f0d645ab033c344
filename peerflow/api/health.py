"""For whoever operates the pod: `/healthz` says that the process lives, `/readyz` that it does its work."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from peerflow.api.context import Api
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import Health, Ready

router = APIRouter(tags=["operations"], default_response_class=JsonAnswer)


@router.get("/healthz", responses={200: {"model": Health, "description": "The process lives"}}, summary="Does the process live?")
async def healthz() -> Response:
    return JsonAnswer({"status": "ok"})


@router.get(
    "/readyz",
    responses={
        200: {"model": Ready, "description": "The pod works"},
        503: {"model": Ready, "description": "The pod does not work now: starting, draining, or without Redis"},
    },
    summary="Does the pod work?",
)
async def readyz(api: Api) -> Response:
    ready, reason, detail = api.readiness()
    return JsonAnswer({"ready": ready, "reason": reason, "detail": detail}, status_code=200 if ready else 503)
