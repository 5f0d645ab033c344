"""Who calls, and what they may do.

A route names the scope that it needs (`needs`). Which caller a request comes from says the application's `Authenticate`; without one
everybody is `ANYBODY`, who may do everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from peerflow.api.context import Api, ApiContext
from peerflow.api.problem import RequestRefused
from peerflow.auth.identity import DEFAULT_TENANT, Scope
from peerflow.logging import CallerRefused


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    """Who it is, for people: the name of a key, the subject of a token."""
    tenant: str
    """Whose the runs are that this caller starts; it sees no others."""
    scopes: frozenset[Scope]
    everywhere: bool = False
    """Sees the runs of all tenants."""
    identified: bool = True
    """False where nobody was asked for a key."""

    @property
    def by(self) -> str | None:
        """Its name, as what it does is noted under it; None where nobody was asked."""
        return self.name if self.identified else None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = Caller("anybody", DEFAULT_TENANT, frozenset(Scope), everywhere=True, identified=False)

KNOWN: Final = "peerflow.caller"
"""Where the request's scope has its caller, once it is known."""

Authenticate = Callable[[Request], Awaitable[Caller]]
"""Answers who sent the request. Raises RequestRefused (401) where that is not known."""


async def anybody(request: Request) -> Caller:
    """For pods without keys."""
    del request
    return ANYBODY


async def _caller(request: Request, api: Api) -> Caller:
    # A read that is repeated (`read_route`) is still one request: neither verified again nor counted twice.
    known: Caller | None = request.scope.get(KNOWN)
    if known is None:
        known = request.scope[KNOWN] = await api.authenticate(request)
    return known


CallerOf = Annotated[Caller, Depends(_caller)]
"""A route's parameter `caller`; asked once for each request."""


def needs(scope: Scope) -> Callable[[Request, ApiContext, Caller], Awaitable[None]]:
    """A dependency that refuses callers without this scope (403)."""

    async def check(request: Request, api: Api, caller: CallerOf) -> None:
        if not caller.may(scope):
            api.publisher.publish(
                CallerRefused(caller=caller.name, tenant=caller.tenant, method=request.method, path=request.url.path, scope=scope)
            )
            raise RequestRefused(
                403,
                "scope-missing",
                f"{caller.name} may not do this: it takes the scope {scope.value!r}",
                remedy=f"use a key or token with the scope {scope.value!r}",
                headers={"WWW-Authenticate": f'Bearer realm="peerflow", error="insufficient_scope", scope="{scope.value}"'},
            )

    return check
