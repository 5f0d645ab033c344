"""The middleware around everything: HEAD, headers for safety, and the last net for errors that nobody foresaw."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.events import Publisher
from peerflow.api.problem import RequestRefused
from peerflow.logging import RequestFailed

ADDED: Final = "peerflow.headers"
"""Where a request's scope keeps headers that its answer is to bear."""
HEADERS: Final[dict[str, str]] = {
    # Answers are data of a moment; a page that sets its own rules keeps them.
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Outermost:
    """Wraps the application; lifespan and WebSockets pass through."""

    def __init__(self, app: ASGIApp, publisher: Publisher, *, hsts_seconds: int = 0) -> None:
        """With `hsts_seconds` each answer says that for so long nothing but TLS is to be used (RFC 6797)."""
        self._app = app
        self._publisher = publisher
        self._headers = {**HEADERS, "Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        # What the request's way adds: of the rate limit, where one holds.
        added: dict[str, str] = {}
        answering = _Answering(send, self._headers, added, with_body=not head)
        # HEAD is GET without the body (RFC 9110 §9.3.2); routes need not know. Otherwise it is the server's own scope, in which whoever
        # stands around this finds the route.
        inner = {**scope, "method": "GET"} if head else scope
        inner[ADDED] = added
        try:
            await self._app(inner, receive, answering)
        except Exception as error:
            error_id = secrets.token_hex(4)
            self._publisher.publish(RequestFailed(method=scope["method"], path=scope["path"], error=error, error_id=error_id))
            if answering.started:
                # Half an answer must not look like a whole one: the server cuts the connection.
                raise
            await _unforeseen(error_id).response()(scope, receive, answering)


class _Answering:
    """`send` of one request: adds headers, and leaves the body out for HEAD."""

    def __init__(self, send: Send, always: Mapping[str, str], added: Mapping[str, str], *, with_body: bool) -> None:
        self._send = send
        self._always, self._added = always, added
        self._with_body = with_body
        self.started = self._ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            # A copy: some responses are made once and sent often.
            message = {**message, "headers": list(message["headers"])}
            headers = MutableHeaders(raw=message["headers"])
            for name, value in (*self._always.items(), *self._added.items()):
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body" and not self._with_body:
            if self._ended:
                return
            # The end, also of an answer that would go on for long: whoever gives it then hears that the client is gone.
            self._ended = True
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


def _unforeseen(error_id: str) -> RequestRefused:
    detail = f"the pod met an error that it did not foresee; its log has the details under error_id {error_id}"
    return RequestRefused(500, "internal-error", detail, remedy="try again; if it happens again, report it with that log line")
