"""Passes the end of a task on to successors that were too many for the commit, or that a skipped task has; sweeps ended runs.

The right to pass a slice is a timer in storage, so any pod can go on where another died; two pods at the same slice do no harm.
"""

from __future__ import annotations

import asyncio

from engine.errors import StorageCorrupt, StorageRefused, StorageUnavailable
from scheduler.timers import Timers
from storage.graphs import RunGraph
from storage.partition import EDGES_PER_CALL, Partition

Slice = tuple[str, str, int]
"""Run id; task index, or "root" for the run's first tasks, or "sweep" for all of an ended run's; offset of the first of them."""


class Passer:
    """The loop that passes slices on, one task after the other."""

    def __init__(self, partition: Partition, timers: Timers) -> None:
        self._partition, self._timers = partition, timers
        self._queue: asyncio.Queue[Slice] = asyncio.Queue()
        self._queued: set[tuple[str, str]] = set()

    def add(self, slices: list[Slice]) -> None:
        """Queues slices; one that is queued already is left where it is."""
        for run_id, index, start in slices:
            if (run_id, index) not in self._queued:
                self._queued.add((run_id, index))
                self._queue.put_nowait((run_id, index, start))

    async def run(self) -> None:
        while True:
            await self.run_once()

    async def run_once(self) -> None:
        """Passes everything on that one ended task has to say, unless storage is away: then its timer brings it back."""
        run_id, index, start = await self._queue.get()
        try:
            graphs = await self._partition.load_graphs([run_id])
            await self._pass(run_id, index, start, graphs.get(run_id))
        except (StorageUnavailable, StorageRefused, StorageCorrupt):
            # Corrupt is a definition that this version cannot read: the slice is left to pods that can.
            return
        finally:
            self._queued.discard((run_id, index))

    async def _pass(self, run_id: str, index: str, start: int, graph: RunGraph | None) -> None:
        following: int | None = start
        while following is not None:
            start = following
            total, edges = _slice(graph, index, start)
            following = start + EDGES_PER_CALL if start + EDGES_PER_CALL < total else None
            if index == "sweep":
                word = await self._partition.sweep(run_id, start, following, edges)
            else:
                word, cascades = await self._partition.pass_on(run_id, index, start, following, edges)
                if cascades:
                    self._timers.nudge(0)
            if word != "OK":
                return


def _slice(graph: RunGraph | None, index: str, start: int) -> tuple[int, str]:
    """How many successors there are in all, and the slice from `start`; none where the run is gone."""
    if graph is None:
        return 0, ""
    if index == "sweep":
        return len(graph.graph.tasks), graph.entries(start, EDGES_PER_CALL)
    if index == "root":
        return len(graph.graph.roots), graph.roots(start, EDGES_PER_CALL)
    return len(graph.graph.successors[int(index)]), graph.edges(int(index), start, EDGES_PER_CALL)
