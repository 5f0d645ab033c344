"""Whose runs a caller sees: its tenant's, and of others not even that they exist.

`own_run` stands before every route (`create_app` puts it there), so that a new route with a `{run_id}` needs nothing of its own.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request

from engine.errors import RunNotFound
from peerflow.api.callers import Caller, CallerOf
from peerflow.api.context import Api
from peerflow.api.problem import RequestRefused
from storage.repeat import until_answered

RUN_ID: Final = "run_id"
"""What every route calls the part of its path that names a run."""
ASK_SECONDS: Final = 3.0
"""How long a caller waits for whose run it is through a blink of Redis; as long as a reader does."""


async def own_run(request: Request, api: Api, caller: CallerOf) -> None:
    """Refuses a run that is not the caller's exactly as one that does not exist: raises RunNotFound (404)."""
    run_id = request.path_params.get(RUN_ID)
    if run_id is None or caller.everywhere:
        return
    if request.method == "GET":
        # Repeated as a whole, with what follows (`read_route`).
        tenant = await api.store.tenant_of(run_id)
    else:
        tenant = await until_answered(lambda: api.store.tenant_of(run_id), within_seconds=ASK_SECONDS)
    if tenant != caller.tenant:
        raise RunNotFound(run_id)


def tenant_seen(caller: Caller, wanted: str | None) -> str | None:
    """Whose entries a list shows to the caller: of one tenant, or of all (None). Raises RequestRefused (403) where it asks for others'."""
    if caller.everywhere:
        return wanted
    if wanted not in {None, caller.tenant}:
        raise RequestRefused(
            403,
            "tenant-closed",
            f"{caller.name} sees the tenant {caller.tenant!r} alone",
            remedy="leave the tenant out, or use a key that sees all tenants",
            pointer="query/tenant",
        )
    return caller.tenant
