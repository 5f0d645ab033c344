"""How many requests a caller may send: a bucket of tokens for each, shared by all pods."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import redis.asyncio

from engine.errors import StorageUnavailable
from storage.connection import translated
from storage.partition import Partition
from storage.scripts import call

PATIENCE_SECONDS: Final = 0.5
"""A request does not wait longer to be counted: a server so slow is nobody's to be limited by."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bucket answered."""

    allowed: bool
    left: int
    retry_ms: int
    """Until there is a token; 0 where one was taken."""
    full_ms: int


class Tokens:
    """Buckets that fill with `per_second` tokens up to `burst`; one that is full is not stored."""

    def __init__(
        self, client: redis.asyncio.Redis, partitions: Sequence[Partition], address: str, *, per_second: float, burst: int
    ) -> None:
        self._client, self._partitions, self._address = client, partitions, address
        self.per_second, self.burst = per_second, burst

    async def take(self, caller: str) -> Taken:
        """One token of the caller's. Raises StorageUnavailable, at the latest after PATIENCE_SECONDS."""
        digest = hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        prefix = self._partitions[zlib.crc32(digest.encode()) % len(self._partitions)].keys.prefix
        try:
            with translated(self._address):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    answer = await call(self._client, "take_token", prefix, digest, max(1, round(self.per_second * 1000)), self.burst)
        except TimeoutError:
            raise StorageUnavailable(self._address, f"no answer within {PATIENCE_SECONDS} s") from None
        if answer[0] == "OK":
            return Taken(allowed=True, left=answer[1], retry_ms=0, full_ms=answer[2])
        return Taken(allowed=False, left=0, retry_ms=answer[1], full_ms=answer[2])
