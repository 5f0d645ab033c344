"""Which error becomes which problem document: the one table of statuses."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.errors import (
    DefinitionError,
    IdempotencyConflict,
    PeerflowError,
    Problem,
    RunAlreadyFinished,
    RunNotFound,
    StorageCorrupt,
    StorageRefused,
    StorageUnavailable,
    TaskNotFound,
)
from engine.problems import shown
from peerflow.api.params import REMEDIES
from peerflow.api.problem import RequestRefused

RETRY_SECONDS: Final = 2


def install(app: FastAPI) -> None:
    """Answers every expected error of the application's routes with a problem document."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestRefused)
        return error.response()

    async def peerflow(_: Request, error: Exception) -> Response:
        assert isinstance(error, PeerflowError)
        return refusal_of(error).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _query(error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _route(request, error).response()

    async def gone(_: Request, error: Exception) -> Response:  # noqa: ARG001  (a handler's signature)
        # Nobody reads this; it only ends the request in order.
        return Response(status_code=400)

    app.add_exception_handler(RequestRefused, refused)
    app.add_exception_handler(PeerflowError, peerflow)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)


def refusal_of(error: PeerflowError) -> RequestRefused:
    """The problem document for one of peerflow's own errors."""
    text = str(error)
    match error:
        case DefinitionError():
            return RequestRefused.with_problems(422, "definition-invalid", error.problems)
        case RunNotFound():
            return RequestRefused(
                404, "run-not-found", text, remedy="take the run_id from the answer to POST /workflow", pointer="path/run_id"
            )
        case TaskNotFound():
            remedy = f"GET /runs/{error.run_id}/tasks lists its tasks"
            return RequestRefused(404, "task-not-found", text, remedy=remedy, pointer="path/task_id")
        case RunAlreadyFinished():
            remedy = "nothing is left to do; its results can be read until its retention is over"
            return RequestRefused(409, "run-finished", text, remedy=remedy, pointer="path/run_id")
        case IdempotencyConflict():
            remedy = "use a new key for a new definition, or send the first definition again, byte for byte"
            detail = f"the key {error.key!r} was used for run {error.run_id}, with another body"
            return RequestRefused(422, "idempotency-conflict", detail, remedy=remedy, pointer="header/Idempotency-Key")
        case StorageUnavailable():
            remedy = "try again; the pod keeps trying to reach it"
            return RequestRefused(503, "storage-unavailable", text, remedy=remedy, headers={"Retry-After": str(RETRY_SECONDS)})
        case StorageRefused():
            return _storage_refused(error)
        case StorageCorrupt():
            remedy = "look at the pod's log; a newer version may have written these data"
            return RequestRefused(500, "storage-corrupt", text, remedy=remedy)
        case _:
            return RequestRefused(500, "internal-error", text, remedy="look at the pod's log")


def _storage_refused(error: StorageRefused) -> RequestRefused:
    headers = {"Retry-After": str(5 * RETRY_SECONDS)}
    if "OOM" in error.reason or "maxmemory" in error.reason:
        remedy = "raise the server's maxmemory, or shorten the retention of runs"
        return RequestRefused(507, "storage-full", str(error), remedy=remedy, headers=headers)
    return RequestRefused(
        503, "storage-refused", str(error), remedy="repair the server's configuration; nothing was changed", headers=headers
    )


def _query(error: RequestValidationError) -> RequestRefused:
    """FastAPI's own checks of query parameters, as problems that name the parameter."""
    problems = [
        Problem(
            code="query-invalid",
            pointer="/".join(str(part) for part in item["loc"]),
            message=f"{item['loc'][-1]} ({shown(item.get('input'))}) is not valid",
            remedy=_remedy(item),
        )
        for item in error.errors()
    ]
    return RequestRefused.with_problems(400, "query-invalid", problems)


def _remedy(item: dict[str, Any]) -> str:
    expected = item.get("ctx", {}).get("expected")
    return f"give {expected}" if expected else REMEDIES.get(str(item["loc"][-1]), str(item["msg"]))


def _route(request: Request, error: HTTPException) -> RequestRefused:
    path, method = request.url.path, request.method
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{method} is not allowed at {shown(path)}"
        return RequestRefused(405, "method-not-allowed", detail, remedy=f"allowed: {allowed}", pointer="path", headers=error.headers)
    if error.status_code == 404:
        slash = "leave out the slash at the end; " if path.endswith("/") and path != "/" else ""
        remedy = f"{slash}GET /docs lists every address"
        return RequestRefused(404, "route-not-found", f"there is nothing at {shown(path)}", remedy=remedy, pointer="path")
    return RequestRefused(
        error.status_code, "internal-error", str(error.detail), remedy="GET /docs describes every call", headers=error.headers
    )
