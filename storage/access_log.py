"""Reads who did what to runs, newest first, over all partitions."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import redis.asyncio

from storage.connection import translated
from storage.partition import Partition
from storage.views import DEFAULT_TENANT, AccessPage, AccessView

ROWS = 200
LOOKED = 2_000
"""Entries that one call looks at when it filters; the cursor goes on from there."""
PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})\.([0-9]{1,4})")

Place = tuple[int, int, int]
"""An entry's place in the order of all: ms and number of its stream id, and its partition."""
Fields = dict[str, str]


class AccessLog:
    """What `create_run` and `cancel` noted of callers with names."""

    def __init__(self, client: redis.asyncio.Redis, partitions: Sequence[Partition], address: str) -> None:
        self._client, self._partitions, self._address = client, partitions, address

    async def read(self, *, tenant: str | None = None, cursor: str | None = None, limit: int = 100) -> AccessPage:
        """Entries, newest first, of one tenant or of all. A page may be short although there are more: `next_cursor` alone says so.

        Raises ValueError for a cursor that no page gave.
        """
        place, found, looked = _parse(cursor), list[AccessView](), 0
        while looked < LOOKED:
            rows, more = await self._older(place)
            looked += len(rows)
            for place, fields in rows:
                entry = _view(fields)
                if tenant in {None, entry.tenant}:
                    found.append(entry)
                if len(found) == limit:
                    return AccessPage(found, _cursor(place))
            if not more or place is None:
                return AccessPage(found, None)
        return AccessPage(found, _cursor(place) if place else None)

    async def _older(self, place: Place | None) -> tuple[list[tuple[Place, Fields]], bool]:
        """Up to ROWS entries behind `place` over all partitions, newest first, and whether there may be more."""
        with translated(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for partition in self._partitions:
                pipeline.xrevrange(partition.keys.access, max=_newest(place, partition.keys.partition), count=ROWS)
            answers = cast("list[list[tuple[str, Fields]]]", await pipeline.execute())
        rows = [
            ((*_id(entry), partition.keys.partition), fields)
            for partition, answer in zip(self._partitions, answers, strict=True)
            for entry, fields in answer
        ]
        # Each partition gave its newest; of all of them, the newest ROWS have nothing between them that was not given.
        rows.sort(reverse=True, key=lambda row: row[0])
        return rows[:ROWS], len(rows) >= ROWS


def _newest(place: Place | None, partition: int) -> str:
    """The newest id of a partition that is behind the place, for XREVRANGE."""
    if place is None:
        return "+"
    at_ms, number, where = place
    return f"{at_ms}-{number}" if partition < where else f"({at_ms}-{number}"


def _id(text: str) -> tuple[int, int]:
    at_ms, _, number = text.partition("-")
    return int(at_ms), int(number)


def _cursor(place: Place) -> str:
    return f"{place[0]}-{place[1]}.{place[2]}"


def _parse(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    found = PLACE.fullmatch(cursor)
    if found is None:
        raise ValueError(f"no page gave the cursor {cursor[:100]!r}")
    return int(found[1]), int(found[2]), int(found[3])


def _view(fields: Fields) -> AccessView:
    return AccessView(
        at_ms=int(fields["at"]),
        caller=fields["caller"],
        tenant=fields["tenant"] or DEFAULT_TENANT,
        action=fields["action"],
        run_id=fields["run"],
        outcome=fields["outcome"],
    )
