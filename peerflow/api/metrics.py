"""`GET /metrics`: what the pod counts and measures, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from peerflow.api.context import Api
from peerflow.api.describe import refused
from peerflow.api.params import only
from peerflow.api.problem import RequestRefused

router = APIRouter(tags=["operations"], dependencies=[Depends(only())])


@router.get(
    "/metrics",
    responses={
        200: {
            "description": "Metrics in Prometheus' text format, or as OpenMetrics where `Accept` asks for it",
            "content": {media_type: {"schema": {"type": "string"}} for media_type in ("text/plain", "application/openmetrics-text")},
        },
        400: refused(400),
        404: refused(404, "The pod counts nothing"),
    },
    summary="What does the pod count?",
    response_class=Response,
)
async def metrics(api: Api, request: Request) -> Response:
    if api.scrape is None:
        raise RequestRefused(404, "metrics-off", "this pod counts nothing: PEERFLOW_METRICS is false", remedy="set PEERFLOW_METRICS=true")
    accept = request.headers.get("accept", "")
    if api.scrape_all is not None and _came_by_the_port(request):
        body, media_type = await api.scrape_all(accept, request.headers.get("authorization", ""))
    else:
        body, media_type = await api.scrape(accept)
    return Response(body, headers={"content-type": media_type})


def _came_by_the_port(request: Request) -> bool:
    """A pod's private socket has a path and no port; there the others ask for its own."""
    server: tuple[str, int | None] | None = request.scope.get("server")
    return server is not None and server[1] is not None
