"""The metrics of all pods of one supervisor, from whichever of them was asked.

They share a port, so a scrape of it reaches any of them: what one answers alone would jump to and fro. Each also answers on a private
socket, there for itself alone.
"""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Final

from peerflow.api.context import Scrape, ScrapeAll
from peerflow.listener import Place
from peerflow.metrics.merge import merged
from peerflow.unix_http import UnixConnection

TIMEOUT_SECONDS: Final = 3.0
"""A pod that is frozen is left out."""


def of_all(place: Place, scrape: Scrape) -> ScrapeAll:
    """A scrape that asks the other pods, too. Those that are just starting or ending are left out."""

    async def everywhere(accept: str, authorization: str) -> tuple[bytes, str]:
        asked = asyncio.gather(*(asyncio.to_thread(_ask, path, accept, authorization) for path in place.siblings()))
        own, media_type = await scrape(accept)
        others = await asked
        texts = {place.private_socket.stem: own} | {name: body for name, body, kind in filter(None, others) if kind == media_type}
        return merged({name: texts[name].decode() for name in sorted(texts)}).encode(), media_type

    return everywhere


def _ask(path: Path, accept: str, authorization: str) -> tuple[str, bytes, str] | None:
    connection = UnixConnection(path, TIMEOUT_SECONDS)
    headers = {"Accept": accept} | ({"Authorization": authorization} if authorization else {})
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return (path.stem, body, answer.headers.get("content-type", "")) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
