"""Ready tasks that wait in their lanes, and the notes on why they do."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import redis.asyncio

from storage.connection import translated
from storage.keys import Keys
from storage.scripts import Argument, call

NOTES_PER_CALL = 64
LANES = 256
"""Lanes that a look at the backlog asks for."""
PRIORITY_STEP = 4_398_046_511_104
"""A lane's score is (100 - priority) times this, plus the ms at which its first task became ready."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Lanes that hold ready tasks."""

    now_ms: int
    """The server's clock."""
    first_ready: list[tuple[str, int]]
    """Lane and the ms at which its first task became ready, first the lanes of the highest priority."""


class Backlog:
    """One partition's."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, address: str) -> None:
        self._client, self._keys, self._address = client, keys, address

    async def lanes(self) -> Lanes:
        """The first LANES lanes that hold ready tasks."""
        with translated(self._address):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.time()
            pipeline.zrange(f"{self._keys.prefix}lanes", 0, LANES - 1, withscores=True)
            (seconds, micros), rows = cast("tuple[tuple[int, int], list[tuple[str, float]]]", await pipeline.execute())
        return Lanes(seconds * 1000 + micros // 1000, [(lane, int(score) % PRIORITY_STEP) for lane, score in rows])

    async def noted_at_ms(self, lanes: Sequence[str]) -> int:
        """When one of these lanes was last noted by `note_waits`, by the server's clock; 0 for never."""
        with translated(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for lane in lanes:
                pipeline.lrange(self._keys.waits(lane), -1, -1)
            rows = cast("list[list[str]]", await pipeline.execute())
        return max((int(line.split(" ")[2]) for row in rows for line in row), default=0)

    async def note_waits(self, notes: Sequence[tuple[str, str, int]], keep_seconds: float) -> int:
        """Notes why ready tasks stay in their lanes, each as (lane, code, since ms). Answers how many intervals are new."""
        args: list[Argument] = [value for note in notes[:NOTES_PER_CALL] for value in note]
        with translated(self._address):
            answer = await call(self._client, "note_waits", self._keys.prefix, int(keep_seconds * 1000), len(notes[:NOTES_PER_CALL]), *args)
        return answer[1]
