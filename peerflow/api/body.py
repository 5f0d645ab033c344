"""Reads request bodies: counted while they arrive, at most the limit kept, and not for longer than a slow line needs.

A body that is too large is read on and thrown away for a while before it is refused: a client that still writes while the connection is
closed under it sees a reset instead of the answer (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from peerflow.api.problem import RequestRefused

DRAINED_BYTES: Final = 16 * 1024 * 1024
"""How much beyond the limit is read and thrown away."""
PATIENCE_SECONDS: Final = 20.0
SLOWEST_BYTES_PER_SECOND: Final = 64 * 1024
"""A body may take 20 s, and a second more for each 64 KiB that have arrived."""
BODIES_AT_ONCE: Final = 4
"""How many of the largest bodies fit into memory at once; smaller ones share the same room."""
LARGE_BYTES: Final = 1024 * 1024
"""Bodies above this are worked on one at a time: as Python objects they take twenty times their size, or more."""


class Bodies:
    """The room that all bodies of this pod share, and the queue for large ones."""

    def __init__(self, largest_bytes: int) -> None:
        self._room = largest_bytes * BODIES_AT_ONCE
        self._large = asyncio.Semaphore(1)

    @asynccontextmanager
    async def read(self, request: Request, limit: int) -> AsyncGenerator[bytes]:
        """The body, at most `limit` bytes; its room is free again at the end of the block.

        Raises RequestRefused: 413 for its size, 408 for its slowness, 503 where there is no room.
        """
        _refuse_declared(request, limit)
        reading = _Reading(request, limit)
        try:
            data = await self._receive(reading)
            if len(data) <= LARGE_BYTES:
                yield data
            else:
                async with self._large:
                    yield data
        finally:
            self._room += reading.kept

    async def _receive(self, reading: _Reading) -> bytes:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout_at(started + PATIENCE_SECONDS) as patience:
                async for chunk in reading.request.stream():
                    self._room -= reading.take(chunk)
                    if self._room < 0:
                        raise RequestRefused(
                            503,
                            "busy",
                            "this pod is reading as many definitions as fit into its memory",
                            remedy="send it again in a moment, or to another pod",
                            pointer="body",
                            headers={"Retry-After": "1", "Connection": "close"},
                        )
                    if reading.total > reading.limit + DRAINED_BYTES:
                        raise _too_large(f"more than {reading.total}", reading.limit, unread=True)
                    patience.reschedule(started + PATIENCE_SECONDS + reading.total / SLOWEST_BYTES_PER_SECOND)
        except TimeoutError:
            if reading.total > reading.limit:
                raise _too_large(f"more than {reading.total}", reading.limit, unread=True) from None
            raise _too_slow(reading.total) from None
        if reading.total > reading.limit:
            raise _too_large(str(reading.total), reading.limit, unread=False)
        return b"".join(reading.chunks)


class _Reading:
    """One body on its way in."""

    def __init__(self, request: Request, limit: int) -> None:
        self.request, self.limit = request, limit
        self.chunks: list[bytes] = []
        self.kept = self.total = 0

    def take(self, chunk: bytes) -> int:
        """Counts a chunk and keeps it within the limit; beyond it everything is let go. Answers how much more room that takes."""
        before = self.kept
        self.total += len(chunk)
        if self.total <= self.limit:
            self.chunks.append(chunk)
            self.kept += len(chunk)
        else:
            self.chunks.clear()
            self.kept = 0
        return self.kept - before


def _refuse_declared(request: Request, limit: int) -> None:
    """Refuses by the declared length alone where the client waits for leave to send, or where reading on would be endless."""
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared) <= limit:
        return
    if request.headers.get("expect", "").lower() == "100-continue" or int(declared) > limit + DRAINED_BYTES:
        raise _too_large(declared, limit, unread=True)


def _too_large(size: str, limit: int, *, unread: bool) -> RequestRefused:
    return RequestRefused(
        413,
        "body-too-large",
        f"the body has {size} bytes; the limit is {limit} bytes",
        remedy="send less: split the workflow, or keep data elsewhere and pass its address",
        pointer="body",
        code="limit-exceeded",
        headers={"Connection": "close"} if unread else None,
    )


def _too_slow(received: int) -> RequestRefused:
    return RequestRefused(
        408,
        "body-slow",
        f"only {received} bytes of the body came within {PATIENCE_SECONDS + received / SLOWEST_BYTES_PER_SECOND:.0f} s",
        remedy=f"send it again, at {SLOWEST_BYTES_PER_SECOND // 1024} KiB/s or faster",
        pointer="body",
        headers={"Connection": "close"},
    )
