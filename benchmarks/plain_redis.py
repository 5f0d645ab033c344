"""redis-py as it comes: what the reference and the probe use, so that nothing the product does for speed can speed them up too."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_SECONDS = 10.0


def connect(url: str, *, connections: int = 4) -> redis.asyncio.Redis:
    """An asyncio client with hiredis (installed with peerflow) and a time limit, which sends nothing twice."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections,
    )
