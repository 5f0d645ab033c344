"""The middleware that tells how each request ended, and how long it took."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

OnRequest = Callable[[str, str, str, float], None]
"""Hears method, route, status and seconds of each request."""

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER: Final = "other"
UNMATCHED: Final = "unmatched"
"""The route of a request that none takes: whatever paths somebody tries, they are one."""
UNANSWERED: Final = "none"
"""The status of a request whose client went away first."""


class Measured:
    """Wraps the application; lifespan and WebSockets pass through."""

    def __init__(self, app: ASGIApp, on_request: OnRequest) -> None:
        self._app, self._on_request = app, on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = UNANSWERED
        started = perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            # The middleware around this one answers for it.
            status = "500"
            raise
        finally:
            method = scope["method"]
            # The page at /docs and its files are no routes of the API's own kind, and say only that they exist.
            route = scope["route"].path if "route" in scope else OTHER if "endpoint" in scope else UNMATCHED
            self._on_request(method if method in METHODS else OTHER, route, status, perf_counter() - started)
