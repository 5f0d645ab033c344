"""Server-Sent Events: an answer that goes on while there is something to tell.

A comment keeps the connection open while nothing happens. A reader that does not take what is sent to it is dropped, and an answer ends
after an hour: the client comes back by itself, with the id of the last event that it has seen in `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from peerflow.api.json_answer import encode

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 30.0
"""A reader that takes nothing for so long is dropped."""
LONGEST_SECONDS: Final = 3600.0
AGAIN_MS: Final = 1_000
"""After which a client whose answer has ended comes back."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event; `id` is where the client goes on after it."""

    kind: str
    data: object
    id: str | None = None

    def encoded(self) -> bytes:
        lines = [f"id: {self.id}".encode()] if self.id is not None else []
        # JSON has no line break that is not escaped, so the data are one line.
        return b"\n".join([*lines, b"event: " + self.kind.encode(), b"data: " + encode(self.data), b"", b""])


class EventStream(Response):
    """Sends what `events` tells, until it ends, the client goes, or an hour is over."""

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[list[Told]], on_end: Callable[[], None]) -> None:
        """`on_end` is called in the end, whatever happens. An empty list of events tells nothing, and lets a heartbeat pass."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._on_end = events, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        gone = asyncio.ensure_future(_until_gone(receive))
        telling = asyncio.ensure_future(self._tell(send))
        try:
            done, _ = await asyncio.wait({gone, telling}, timeout=LONGEST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, telling):
                task.cancel()
            results = await asyncio.gather(gone, telling, return_exceptions=True)
            self._on_end()
        if not done:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        # An answer that has begun cannot become a refusal: its end tells the client to ask again.
        unforeseen = [result for result in results if isinstance(result, Exception) and not isinstance(result, OSError | TimeoutError)]
        if unforeseen:
            raise unforeseen[0]

    async def _tell(self, send: Send) -> None:
        async def out(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        async with contextlib.aclosing(self._events) as events:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await out(f"retry: {AGAIN_MS}\n\n".encode())
            silent_since = asyncio.get_running_loop().time()
            async for told in events:
                now = asyncio.get_running_loop().time()
                if told:
                    await out(b"".join(event.encoded() for event in told))
                elif now - silent_since >= HEARTBEAT_SECONDS:
                    await out(b": still here\n\n")
                else:
                    continue
                silent_since = now
            await out(b"", more=False)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
