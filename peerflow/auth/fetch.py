"""Fetches one JSON document of an issuer: bounded in time and size, without following anybody elsewhere."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx
from pydantic import JsonValue

from engine import strict_json
from engine.errors import DefinitionError
from peerflow.auth.addresses import is_safe

LARGEST_BYTES: Final = 256 * 1024
PATIENCE_SECONDS: Final = 5.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


class FetchFailed(Exception):
    """There is no such document now; the text says why."""


async def fetch(url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> dict[str, JsonValue]:
    """The JSON object at an address. Raises FetchFailed."""
    if not is_safe(url):
        raise FetchFailed(f"{url} is neither https nor this machine")
    # A proxy for the world is not asked for this machine's own addresses.
    direct: dict[str, httpx.AsyncBaseTransport | None] = {} if transport else {f"all://{host}": None for host in _LOOPBACK}
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            httpx.AsyncClient(transport=transport, mounts=direct, timeout=PATIENCE_SECONDS, headers=headers) as client,
            client.stream("GET", url) as response,
        ):
            return _object(url, await _read(url, response))
    except TimeoutError:
        raise FetchFailed(f"{url} does not answer within {PATIENCE_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed(f"{url}: {str(error) or type(error).__name__}") from None


async def _read(url: str, response: httpx.Response) -> bytes:
    """The body as it comes; what was compressed all the same is refused before it becomes large."""
    if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed(f"{url} answers {response.status_code} {response.headers.get('content-encoding', '')}".rstrip())
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > LARGEST_BYTES:
            raise FetchFailed(f"{url} answers more than {LARGEST_BYTES} bytes")
    return bytes(data)


def _object(url: str, data: bytes) -> dict[str, JsonValue]:
    try:
        found = strict_json.parse(data)
    except DefinitionError:
        found = None
    if not isinstance(found, dict):
        raise FetchFailed(f"{url} answers no JSON object")
    return found
