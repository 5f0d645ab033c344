"""The audit's calls of a partition: which runs are quiet, what of them was lost, and its repair.

Every call may be repeated after an unknown outcome: it looks at the record again, and does nothing twice.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis.asyncio

from storage.connection import translated
from storage.graphs import RunGraph
from storage.keys import Keys
from storage.scripts import Answer, Argument

TASKS_PER_CALL = 200
"""Tasks that `restore` looks at, or `repair` decides, in one call: a few ms of Redis."""
TIMERS_PER_CALL = 1_000


@dataclass(frozen=True, slots=True)
class Restored:
    """A slice of a run's tasks after `restore`."""

    states: str
    """A letter for each task (see `storage.recount`), for fewer tasks than asked for where records are large."""
    edges: dict[int, int]
    before: int
    """The run's events before this call."""
    put_back: list[str]
    """What was lost, "index place" or "lane name"; one event each."""
    counted: list[int]


@dataclass(frozen=True, slots=True)
class Repaired:
    word: str
    """`OK`; `BUSY` where slices must be passed on first; `MOVED`, `TERMINAL` where there is nothing to repair any more."""
    what: list[str]
    cascades: bool


class Audits:
    """The audit's half of `Partition`."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, address: str) -> None:
        self._client, self.keys, self._address = client, keys, address

    async def _call(self, name: str, *args: Argument) -> Answer:
        raise NotImplementedError

    def _tell_ended(self, ended: Sequence[Sequence[str]]) -> None:
        raise NotImplementedError

    async def audit(self, quiet_ms: int, longest_ms: int, limit: int, place: int, again_ms: int) -> tuple[list[str], float | None, int]:
        """Takes runs that have been quiet for `quiet_ms`. Answers them, seconds until another may be (None: no run is live), and the
        place for the next call. Runs that no index lists are searched for every `again_ms`, a page of all runs in each call."""
        _, runs, following, place = await self._call("audit", quiet_ms, longest_ms, limit, place, again_ms)
        return runs, None if following < 0 else following / 1000, place

    async def restore(self, run_id: str, graph: RunGraph, start: int, ttl_ms: int) -> Restored | None:
        """Puts back what is lost of tasks from `start` on. None where the run is not running (any more)."""
        words = " ".join(graph.words[start : start + TASKS_PER_CALL])
        answer = await self._call("restore", run_id, ttl_ms, start, words)
        if answer[0] == "TERMINAL":
            return None
        _, states, edges, before, put_back, counted = answer
        return Restored(states, dict(zip(edges[::2], edges[1::2], strict=True)), before, put_back, counted)

    async def repair(
        self, run_id: str, decisions: Sequence[str], *, events: int | None = None, recount: str = "", dead_end: str = ""
    ) -> Repaired:
        """Applies up to TASKS_PER_CALL decisions of `storage.recount.find_repairs`; with `events`, only if none has been added since."""
        answer = await self._call("repair", run_id, "" if events is None else events, recount, dead_end, *decisions)
        if answer[0] != "OK":
            return Repaired(answer[0], [], cascades=False)
        self._tell_ended(answer[3:])
        return Repaired("OK", answer[1], bool(answer[2]))

    async def slices(self, run_id: str) -> AsyncIterator[str]:
        """Slices of the run that are to be passed on, as "index offset", whenever they are due.

        Looks at every timer, in pages: for the rare case that something is wrong.
        """
        prefix, place = f"edges {run_id} ", 0
        while True:
            with translated(self._address):
                place, rows = cast(
                    "tuple[int, list[tuple[str, float]]]",
                    await self._client.zscan(self.keys.timers, place, match=f"{prefix}*", count=TIMERS_PER_CALL),
                )
            for member, _ in rows:
                yield member.removeprefix(prefix)
            if not place:
                return
