"""A load generator must cost less than what it loads: HTTP/1.1 with kept-alive connections, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, cast

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Poster:
    """Sends requests to one pod, at most `connections` at once."""

    def __init__(self, host: str, port: int, *, connections: int = 16) -> None:
        self._host, self._port = host, port
        self._places = asyncio.Semaphore(connections)
        self._idle: list[Streams] = []

    async def submit(self, body: bytes) -> str:
        """Posts a workflow and answers its run id. RuntimeError where the pod refuses."""
        status, answer = await self.request("POST", "/workflow", body)
        if status != 202:
            raise RuntimeError(f"POST /workflow answered {status}: {answer}")
        return cast("str", answer["run_id"])

    async def submit_all(self, bodies: Iterable[bytes]) -> list[str]:
        """Posts several at once; the ids are in the order of the bodies."""
        return list(await asyncio.gather(*(self.submit(body) for body in bodies)))

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        """Status and JSON body of the answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        async with self._places:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
            writer.write(head.encode() + body)
            status, length = _head(await reader.readuntil(b"\r\n\r\n"))
            answer = json.loads(await reader.readexactly(length))
            self._idle.append((reader, writer))
        return status, answer

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


def _head(text: bytes) -> tuple[int, int]:
    """Status and content length: peerflow sends one with every JSON answer."""
    first, *fields = text.decode("latin-1").split("\r\n")
    length = next(int(field.split(":", 1)[1]) for field in fields if field.lower().startswith("content-length:"))
    return int(first.split(" ", 2)[1]), length
