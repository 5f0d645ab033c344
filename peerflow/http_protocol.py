"""A connection of the API: uvicorn's, with limits on a request's head, which uvicorn has none of, and an end for connections that idle.

A head (request line and headers) has HEAD_SECONDS to come whole, from the connection's start or from its first byte, and at most
HEAD_BYTES. Whatever a client sends otherwise, blank lines between requests, the rest of a body that has been answered, has to lead to a
whole head in that time, too. Bodies have limits of their own (`peerflow.api.body`), connections between requests uvicorn's keep-alive.

What is refused here no application sees; it is answered with a problem document and the same headers as everything else.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from peerflow.api.outermost import HEADERS
from peerflow.api.problem import RequestRefused

HEAD_SECONDS: Final = 15.0
HEAD_BYTES: Final = 64 * 1024
HEADER_BYTES: Final = 32
"""What each header counts beside its name and value, so that many empty ones are no way around the limit."""
SPARE_CONNECTIONS: Final = 1_000
"""Connections beyond the limit that are still told so; further ones are closed at once."""


class Protocol(HttpToolsProtocol):
    """One connection. Its class attributes are limits, which tests make smaller."""

    head_seconds = HEAD_SECONDS
    head_bytes = HEAD_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's own answer to too many has neither its form nor its headers.
        self._limit, self.limit_concurrency = self.limit_concurrency, None
        self._whole: Any = self.app
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = self._began = False
        """A head is coming; it began in the data that is being read."""
        self._parsed = self._received = 0
        """Bytes of the head that the parser has made known, and of the data that came since the first, all of which were the head's."""

    @property
    def idle(self) -> bool:
        """Every request that has begun is answered, and there was one."""
        return getattr(self.cycle, "response_complete", False) and not self._in_head

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if self._limit is not None and len(self.connections) > self._limit + SPARE_CONNECTIONS:
            transport.close()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._began = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and not self._began:
            # All of it belongs to the head, also what the parser holds back until a header is whole.
            self._received += len(data)
            if self._received > self.head_bytes:
                self._refuse(_too_large(self.head_bytes))
                return
        if self._deadline is None and not self._answering():
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._began = True
        self._parsed = self._received = 0
        if self._deadline is None:
            self._arm()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + HEADER_BYTES)

    def on_headers_complete(self) -> None:
        self._disarm()
        self._in_head = False
        self.app = _busy if self._too_many() else self._whole
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            # The rest of a body whose request had been answered: the connection idles again.
            self._disarm()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls where the parser refuses."""
        if self._parsed > self.head_bytes:
            self._refuse(_too_large(self.head_bytes))
        else:
            self._refuse(RequestRefused(400, "request-invalid", msg, remedy="send HTTP/1.1 (RFC 9112)"))

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > self.head_bytes:
            # The parser stops here, and `send_400_response` follows.
            raise ValueError("the head is too large")

    def _too_many(self) -> bool:
        return self._limit is not None and max(len(self.connections), len(self.tasks)) >= self._limit

    def _answering(self) -> bool:
        return not getattr(self.cycle, "response_complete", True)

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._answering():
            # The head of a next request, while the one before is answered: that answer is not cut.
            self._arm()
        elif not self._in_head:
            self.transport.close()
        else:
            detail = f"request line and headers did not come within {self.head_seconds:g} s"
            self._refuse(RequestRefused(408, "headers-slow", detail, remedy="send them at once"))

    def _refuse(self, refused: RequestRefused) -> None:
        if not self.transport.is_closing():
            self._disarm()
            self.transport.write(_as_bytes(refused.response()))
            self.transport.close()


def _too_large(limit: int) -> RequestRefused:
    remedy = "send shorter headers; what is large belongs into the body"
    return RequestRefused(431, "headers-too-large", f"request line and headers are larger than {limit} bytes", remedy=remedy)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    remedy = "try again in a moment, or another pod"
    headers = {**HEADERS, "Retry-After": "1", "Connection": "close"}
    refused = RequestRefused(503, "busy", "this pod has as many connections as it takes", remedy=remedy, headers=headers)
    await refused.response()(scope, receive, send)


def _as_bytes(response: Response) -> bytes:
    """The response as it stands on the wire, the last one of its connection."""
    status = HTTPStatus(response.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name.lower()}: {value}" for name, value in HEADERS.items())]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + bytes(response.body)
