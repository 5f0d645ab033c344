"""Sees to it that no run is in limbo: each live run has a next event, or is given one.

Every pod looks at runs in which nothing has happened for a while; storage hands each to one pod at a time, and less and less often while
it stays as it is. A look reads the run's tasks page by page. What a script finds missing there it puts back in the same call; what needs
the graph is worked out here (`storage.recount`) and applied by a script that checks it again. In a store that forgets nothing there is
never anything to repair.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from engine.errors import StorageCorrupt, StorageRefused, StorageUnavailable
from engine.events import LimboRepaired, Publisher
from storage.audits import TASKS_PER_CALL
from storage.graphs import RunGraph
from storage.partition import Identity, Partition
from storage.recount import Repairs, Survey, find_repairs

RUNS_PER_ROUND = 100
BACK_OFF = 20
"""Looks at a quiet run come no further apart than this many times the first one."""
SEARCH_AGAIN_SECONDS = 24 * 3600.0
"""Live runs that the index of live runs lacks are searched for at once where the index is gone, otherwise this often: it is paranoia."""
ROUNDS = 5
"""A run is looked at again until a look finds nothing; after as many that found something and could not mend it, it waits its turn."""
BUSY_TRIES = 25
BUSY_SECONDS = 0.2
"""Slices that are passed on go first; each takes a moment."""
THREAD_TASKS = 2_000
"""A larger run is worked out in a thread, so that it does not hold up the loop."""
LOST_GRAPH = "its definition is lost"


class Auditor:
    """One partition's quiet runs, as one pod looks at them."""

    def __init__(
        self,
        partition: Partition,
        who: Identity,
        *,
        after_seconds: float,
        publisher: Publisher,
        on_due: Callable[[], None],
        search_again_seconds: float = SEARCH_AGAIN_SECONDS,
        source: random.Random | None = None,
    ) -> None:
        """`on_due` hears that there are slices to pass on."""
        self._partition, self._who, self._publisher, self._on_due = partition, who, publisher, on_due
        self._after_seconds, self._again_ms = after_seconds, int(search_again_seconds * 1000)
        self._random = source or random.Random()  # spreads pods over time
        self._place = 0

    async def run(self) -> None:
        while True:  # noqa: ASYNC110  # each round says how long to sleep
            await asyncio.sleep(await self.run_once())

    async def run_once(self) -> float:
        """Looks at the runs that are quiet, and answers how many seconds until there may be others."""
        try:
            quiet_ms = int(self._after_seconds * 1000)
            quiet, following, self._place = await self._partition.audit(
                quiet_ms, BACK_OFF * quiet_ms, RUNS_PER_ROUND, self._place, self._again_ms
            )
            for run_id in quiet:
                await self.look(run_id)
        except (StorageUnavailable, StorageRefused):
            return self._after_seconds / 6
        # By default between one second and twenty, and not all pods at once. Where no run is live, none can be quiet before that time.
        shortest, longest = self._after_seconds / 30, self._after_seconds / 1.5
        pause = self._after_seconds if following is None else min(max(following, shortest), longest)
        return pause + self._random.uniform(0, shortest)

    async def look(self, run_id: str) -> list[str]:
        """Looks at a run until all is well with it. Answers what was repaired."""
        what: list[str] = []
        try:
            await self._look(run_id, what)
        finally:
            if what:
                self._publisher.publish(LimboRepaired(pod_id=self._who.pod_id, run_id=run_id, repairs=len(what), what=tuple(what[:10])))
        return what

    async def _look(self, run_id: str, what: list[str]) -> None:
        fruitless = 0
        while fruitless < ROUNDS:
            try:
                graphs = await self._partition.load_graphs([run_id])
            except StorageCorrupt:
                # A definition that this version cannot read is left to pods that can.
                return
            if run_id not in graphs:
                what += (await self._partition.repair(run_id, [], dead_end=LOST_GRAPH)).what
                return
            before = len(what)
            survey = await self._survey(run_id, graphs[run_id], what)
            if survey is None:
                return
            repairs = await _found(graphs[run_id], survey)
            if not repairs:
                return
            await self._apply(run_id, repairs, survey.events, what)
            fruitless += len(what) == before

    async def _survey(self, run_id: str, graph: RunGraph, what: list[str]) -> Survey | None:
        """All tasks of the run, with what was lost put back. None where it is not running (any more)."""
        states, still, edges, events = "", True, dict[int, int](), -1
        while True:
            page = await self._partition.restore(run_id, graph, len(states), self._who.ttl_ms)
            if page is None:
                return None
            still = still and events in {-1, page.before}
            events = page.before + len(page.put_back)
            states += page.states
            edges |= page.edges
            what += page.put_back
            if len(states) == len(graph.words):
                return Survey(states, edges, page.counted, events, still)

    async def _apply(self, run_id: str, repairs: Repairs, events: int, what: list[str]) -> None:
        """Applies what it can: first that which must not be late."""
        waiting = [f"slice {words}" async for words in self._partition.slices(run_id)]
        if waiting:
            # They decide by themselves, once they are passed on; a clock that was set back may have left them for much later.
            what += (await self._partition.repair(run_id, waiting[:TASKS_PER_CALL])).what
            await asyncio.sleep(BUSY_SECONDS)
            return
        if repairs.fenced or repairs.recount or repairs.dead_end:
            await self._repair(
                run_id, repairs.fenced[:TASKS_PER_CALL], what, events=events, recount=repairs.recount, dead_end=repairs.dead_end
            )
        for at in range(0, len(repairs.free), TASKS_PER_CALL):
            if not await self._repair(run_id, repairs.free[at : at + TASKS_PER_CALL], what):
                return

    async def _repair(
        self, run_id: str, decisions: list[str], what: list[str], *, events: int | None = None, recount: str = "", dead_end: str = ""
    ) -> bool:
        """Answers whether the decisions were applied, as far as they still were to be."""
        for _ in range(BUSY_TRIES):
            repaired = await self._partition.repair(run_id, decisions, events=events, recount=recount, dead_end=dead_end)
            what += repaired.what
            if repaired.cascades:
                self._on_due()
            if repaired.word != "BUSY" or events is not None:
                return repaired.word == "OK"
            await asyncio.sleep(BUSY_SECONDS)
        return False


async def _found(graph: RunGraph, survey: Survey) -> Repairs:
    if len(survey.states) <= THREAD_TASKS:
        return find_repairs(graph, survey)
    return await asyncio.to_thread(find_repairs, graph, survey)
