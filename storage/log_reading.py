"""Reading what a run's tasks have printed and logged: page by page, or from where a reader stopped."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, cast

from engine.graph import Graph
from engine.states import RunState
from storage.connection import translated
from storage.reading import RunReader
from storage.task_logs import LogLine, LogPlace, Piece

PIECES_PER_READ: Final = 16
PAGE_CHARS: Final = 1024 * 1024
"""A page has no more text than about this, however long its lines are; but one piece at least."""
ATTEMPTS: Final = 200
"""Of one task, the last ones, whose lines a page of that task has."""


@dataclass(frozen=True, slots=True)
class LogPage:
    lines: list[LogLine]
    """In the order of arrival."""
    last: LogPlace
    """Where it ends: the next page begins behind."""
    more: bool
    """There are lines behind it already."""
    seen: int
    """Without more: the place of the last piece that it has taken into account."""


@dataclass(frozen=True, slots=True)
class LogLook:
    """How a log stands, and what of it has come since the last look."""

    state: RunState
    pieces: list[Piece]
    last: int
    """Place of the last piece that this look has seen."""


class LogReader(RunReader):
    """The part of the Store that reads logs."""

    async def get_log(self, run_id: str, *, task_id: str | None = None, attempt: int | None = None, after: LogPlace, limit: int) -> LogPage:
        """Up to `limit` lines behind `after`: of the run, of a task, of one of its attempts. Raises RunNotFound or TaskNotFound."""
        graph = (await self.get_graph(run_id)).graph
        first, following = await self.log_span(run_id)
        begin = max(first, after.piece, 1)
        places: Sequence[int] = range(begin, following)
        if task_id is not None:
            places = [place for place in await self._places(run_id, task_id, attempt) if place >= begin]
        found: list[LogLine] = []
        chars = 0
        for at in range(0, len(places), PIECES_PER_READ):
            for piece in await self._pieces(run_id, places[at : at + PIECES_PER_READ]):
                if found and chars >= PAGE_CHARS:
                    return LogPage(found, found[-1].place, more=True, seen=piece.place)
                for line in self.lines_of(graph, piece):
                    if line.place <= after:
                        continue
                    if len(found) >= limit:
                        return LogPage(found, found[-1].place, more=True, seen=piece.place)
                    found.append(line)
                    chars += len(line.text)
        return LogPage(found, found[-1].place if found else after, more=False, seen=max(after.piece, following - 1))

    async def log_dropped(self, run_id: str, *, task_id: str | None = None, attempt: int | None = None) -> int:
        """How many lines are not kept of a run, a task, an attempt."""
        names = ["*"] if task_id is None else await self._attempts_of(run_id, task_id, attempt)
        return sum(int(row.split(" ")[4]) for row in await self._logged(run_id, names) if row)

    async def look_at_log(self, run_id: str, after: int) -> LogLook:
        """The first pieces behind this place, and how the run stands. Raises RunNotFound."""
        state = (await self.get_run(run_id)).state
        first, following = await self.log_span(run_id)
        places = range(max(first, after + 1), following)[:PIECES_PER_READ]
        pieces = await self._pieces(run_id, places) if places else []
        return LogLook(state, pieces, places[-1] if places else max(after, following - 1))

    @staticmethod
    def lines_of(graph: Graph, piece: Piece) -> list[LogLine]:
        return piece.lines(graph.tasks[piece.index].id if piece.index < len(graph.tasks) else f"#{piece.index}")

    async def log_span(self, run_id: str) -> tuple[int, int]:
        """Place of the first piece that is there, and the place that the next one will have."""
        [row] = await self._logged(run_id, ["*"])
        first, following, *_ = (row or "1 1").split(" ")
        return int(first), int(following)

    async def _pieces(self, run_id: str, places: Sequence[int]) -> list[Piece]:
        """The pieces at these places, without those that are gone."""
        keys = self.partition_for(run_id).keys
        while True:
            first, _ = await self.log_span(run_id)
            wanted = [place for place in places if place >= first]
            with translated(self.address):
                pipeline = self._client.pipeline(transaction=True)
                pipeline.hget(keys.logged(run_id), "*")
                if len(wanted) == 1 + (wanted[-1] - wanted[0] if wanted else -1):
                    pipeline.lrange(keys.log(run_id), wanted[0] - first, wanted[-1] - first)
                else:
                    for place in wanted:
                        pipeline.lrange(keys.log(run_id), place - first, place - first)
                row, *entries = cast("tuple[str | None, list[str]]", await pipeline.execute())
            # Where the list's head has moved in between, places are others now.
            if row is None or int(row.split(" ")[0]) == first:
                texts = [text for entry in entries for text in (entry or [""])]
                return [Piece.parse(place, text) for place, text in zip(wanted, texts, strict=False) if text]

    async def _attempts_of(self, run_id: str, task_id: str, attempt: int | None) -> list[str]:
        """Names of a task's attempts, the last ones; with one more than the record says, as one given back has no number there."""
        task = await self.get_task(run_id, task_id)
        numbers = range(max(1, task.attempts + 2 - ATTEMPTS), task.attempts + 2) if attempt is None else [attempt]
        return [f"{task.index}:{number}" for number in numbers]

    async def _places(self, run_id: str, task_id: str, attempt: int | None) -> list[int]:
        """Where the pieces of a task or an attempt are, in their order."""
        names = await self._attempts_of(run_id, task_id, attempt)
        wanted: list[str] = []
        for name, row in zip(names, await self._logged(run_id, names), strict=True):
            if row:
                first, following, *_ = row.split(" ")
                wanted += [f"{name}:{number}" for number in range(int(first), int(following))]
        return sorted(int(row.split(" ")[0]) for row in await self._logged(run_id, wanted) if row)

    async def _logged(self, run_id: str, names: Sequence[str]) -> list[str | None]:
        key, rows = self.partition_for(run_id).keys.logged(run_id), list[str | None]()
        with translated(self.address):
            for begin, end in pairwise([*range(0, len(names), 1_000), len(names)]):
                rows += await cast("Awaitable[list[str | None]]", self._client.hmget(key, list(names[begin:end])))
        return rows
