"""How many requests a caller may send, over all pods together: by its name, and where nobody is known by its address.

Whoever is refused gets 429 with `Retry-After`; every answer says how much is left, in the fields of draft-ietf-httpapi-ratelimit-headers.
Routes that ask for no caller (health, readiness) are not counted, nor is `/metrics`. Where Redis does not answer, nobody is refused.
"""

from __future__ import annotations

import ipaddress
import math
from typing import Final

from fastapi import Request

from engine.errors import StorageError
from peerflow.api.callers import Authenticate, Caller
from peerflow.api.outermost import ADDED
from peerflow.api.problem import RequestRefused
from storage.tokens import Taken, Tokens

EXEMPT: Final = frozenset({"/metrics"})
POLICY: Final = "default"


def limited(authenticate: Authenticate, tokens: Tokens) -> Authenticate:
    """An `authenticate` that counts, too. Wrong keys are counted by address, so that nobody tries them all."""

    async def count(request: Request) -> Caller:
        try:
            caller = await authenticate(request)
        except RequestRefused:
            await _take(request, tokens, _address(request))
            raise
        await _take(request, tokens, f"name {caller.tenant} {caller.name}" if caller.identified else _address(request))
        return caller

    return count


async def _take(request: Request, tokens: Tokens, who: str) -> None:
    if request.url.path in EXEMPT:
        return
    try:
        taken = await tokens.take(who)
    except StorageError:
        return
    fields = _fields(tokens, taken)
    if not taken.allowed:
        seconds = max(1, math.ceil(taken.retry_ms / 1000))
        raise RequestRefused(
            429,
            "too-many-requests",
            f"more than {tokens.per_second:g} requests a second, after {tokens.burst} at once",
            remedy=f"wait {seconds} s, and send fewer",
            headers={**fields, "Retry-After": str(seconds)},
        )
    request.scope.setdefault(ADDED, {}).update(fields)


def _fields(tokens: Tokens, taken: Taken) -> dict[str, str]:
    """`q` requests within `w` seconds; `r` are left, and in `t` seconds all are there again."""
    window = max(1, math.ceil(tokens.burst / tokens.per_second))
    return {
        "RateLimit-Policy": f'"{POLICY}";q={tokens.burst};w={window}',
        "RateLimit": f'"{POLICY}";r={taken.left};t={math.ceil(taken.full_ms / 1000)}',
    }


def _address(request: Request) -> str:
    """The client's; of IPv6 the network that one client usually has whole."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"address {host}"
    if address.version == 6:
        return f"address {ipaddress.ip_network((address, 64), strict=False)}"
    return f"address {address}"
