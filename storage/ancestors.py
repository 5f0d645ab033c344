"""What a pending task waits for: its open parents, and the task at the far end of the chain that really holds it up.

Records are asked for in few calls, and in all at most READS of them for one answer. A task that is not pending had all its ancestors
end before it, so on any way back to the roots the pending tasks come first: where they stop is found by halving, not by walking.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.graph import Graph
from engine.states import TaskState
from storage.marks import Head

READS = 5_000
STEPS = 200_000
"""Edges that one answer walks back in memory."""
NAMED = 10
AT_FIRST = 20
"""Parents of each task that are asked for before anything else."""
CHUNK = 500
TURNS = 20
"""How often the way to the root cause changes over to another parent."""
ENDS = 5
"""Tasks kept of either end of a chain."""

Fetch = Callable[[Sequence[int]], Awaitable[dict[int, Head]]]


@dataclass(frozen=True, slots=True)
class Chain:
    """The way from an open parent to the root cause. `shown` has its tasks, or of a long way its first and last ENDS."""

    shown: tuple[int, ...] = ()
    length: int = 0

    def behind(self, before: Sequence[int]) -> Chain:
        """This chain with other tasks in front of it."""
        length = len(before) + self.length
        tasks = (*before[: 2 * ENDS], *before[2 * ENDS :][-ENDS:], *self.shown)
        return Chain(tasks if length <= 2 * ENDS else (*tasks[:ENDS], *tasks[-ENDS:]), length)


class Ancestors:
    """Of the tasks of one answer. What was read once is not read again."""

    def __init__(self, graph: Graph, fetch: Fetch, known: dict[int, Head]) -> None:
        self._graph, self._fetch, self.heads = graph, fetch, known
        self._reads, self._steps = READS, STEPS
        self._known: dict[int, Chain] = {}

    async def prepare(self, pending: Sequence[int]) -> None:
        """Reads the first parents of all these tasks at once."""
        await self._read(parent for index in pending for parent in self._graph.predecessors[index][:AT_FIRST])

    async def open_parents(self, index: int) -> tuple[list[int], int]:
        """Up to NAMED parents that have not ended, and how many there are. Names may be missing where the budget is spent."""
        parents = self._graph.predecessors[index]
        await self._read([index])
        ended = self.heads[index].parents_ended if index in self.heads else 0
        count = len(parents) - (ended if len(parents) > 1 else 0)
        found: list[int] = []
        at, size = 0, AT_FIRST
        while at < len(parents) and len(found) < min(NAMED, count) and self._reads > 0:
            await self._read(parents[at : at + size])
            found += [parent for parent in parents[at : at + size] if self._is_open(parent)]
            at, size = at + size, CHUNK
        return found[:NAMED], count

    async def chain(self, index: int) -> Chain:
        """The way from a pending task to the first one that is not pending itself; empty where none was found within bounds.

        Of several open parents it leads over the first in the order of `depends_on`.
        """
        way: list[int] = []
        at = index
        for _ in range(TURNS):
            parents, _ = await self.open_parents(at)
            if not parents:
                return Chain()
            following = parents[0]
            way.append(following)
            if not self._is_pending(following):
                return self._remember(index, way, Chain())
            way += await self._pending_part(following)
            at = way[-1]
            if at in self._known:
                return self._remember(index, way, self._known[at])
        return Chain()

    def _remember(self, index: int, way: list[int], rest: Chain) -> Chain:
        """Notes the chain for tasks all along the way, ever farther apart: a walk that meets this one soon finds one of them."""
        place = 1
        while place < len(way):
            self._known.setdefault(way[place - 1], rest.behind(way[place:]))
            place *= 2
        return self._known.setdefault(index, rest.behind(way))

    async def _pending_part(self, index: int) -> list[int]:
        """The way back over first parents, as long as it is pending or until its chain is known; without `index`, which is pending."""
        path = [index]
        while path[-1] not in self._known and (before := self._graph.predecessors[path[-1]]) and self._steps > 0:
            path.append(before[0])
            self._steps -= 1
        if path[-1] in self._known:
            return path[1:]
        low, high = 0, len(path)  # path[low] is pending; path[high], if there is one, is not
        while high - low > 1:
            probes = sorted({low + 2**power for power in range(12) if low + 2**power < high} | {(low + high) // 2})
            await self._read(path[probe] for probe in probes)
            for probe in probes:
                if path[probe] not in self.heads:
                    return path[1 : low + 1]
                if self._is_pending(path[probe]):
                    low = max(low, probe)
                else:
                    high = min(high, probe)
        return path[1 : low + 1]

    async def _read(self, indices: Iterable[int]) -> None:
        """Reads the heads that are not known yet, as far as the budget goes."""
        missing = [index for index in dict.fromkeys(indices) if index not in self.heads][: self._reads]
        if missing:
            self._reads -= len(missing)
            self.heads |= await self._fetch(missing)

    def _is_open(self, index: int) -> bool:
        return index in self.heads and not self.heads[index].state.terminal

    def _is_pending(self, index: int) -> bool:
        return index in self.heads and self.heads[index].state is TaskState.PENDING
