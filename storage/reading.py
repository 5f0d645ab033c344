"""Reading runs: every answer costs what its page costs, whatever the size of the run."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import cast

import redis.asyncio

from engine.errors import RunNotFound, TaskNotFound
from engine.ids import is_run_id, partition_of
from engine.states import RunState, TaskState
from storage.connection import translated
from storage.graphs import RunGraph
from storage.owners import Owners
from storage.partition import Partition
from storage.pod_list import PodReader
from storage.records import RunRow, attempt_view, effect_view, event_view, run_view, task_view
from storage.stuck import with_reasons
from storage.views import DEFAULT_TENANT, AttemptView, EffectView, EventView, RunPage, RunView, TaskView

SCAN_ROWS = 200
SCAN_LIMIT = 2_000
"""Runs that one call looks at when it filters; the cursor goes on from there."""
CURSOR = re.compile(r"([0-9]{1,15})\.(.{36})")
"""Created ms and id of the last run that was looked at."""
FIELDS = (
    "state", "created", "started", "finished", "total", "name", "labels", "priority", "on_failure", "reason",
    "ready", "running", "waiting", "succeeded", "failed", "skipped", "tenant", "caller",
)  # fmt: skip


class RunReader(PodReader):
    """The reading half of the Store."""

    def __init__(self, client: redis.asyncio.Redis, partitions: Sequence[Partition], address: str) -> None:
        super().__init__(client, partitions, address)
        self.owners = Owners()

    def partition_for(self, run_id: str) -> Partition:
        """The partition that holds a run; raises RunNotFound for what is no run id at all."""
        if not is_run_id(run_id):
            raise RunNotFound(run_id)
        return self.partitions[partition_of(run_id, len(self.partitions))]

    async def tenant_of(self, run_id: str) -> str:
        """Whose the run is, for ever: asked of the server once, then remembered. Raises RunNotFound."""
        tenant = self.owners.get(run_id)
        if tenant is None:
            keys = self.partition_for(run_id).keys
            with translated(self.address):
                state, tenant = await cast("Awaitable[list[str | None]]", self._client.hmget(keys.run(run_id), ("state", "tenant")))
            if state is None:
                raise RunNotFound(run_id)
            tenant = tenant or DEFAULT_TENANT
            self.owners.put(run_id, tenant)
        return tenant

    async def get_run(self, run_id: str) -> RunView:
        """The run without its tasks. Raises RunNotFound."""
        keys = self.partition_for(run_id).keys
        with translated(self.address):
            row = _row(await cast("Awaitable[list[str | None]]", self._client.hmget(keys.run(run_id), FIELDS)))
        return _found(run_id, row)

    async def get_graph(self, run_id: str) -> RunGraph:
        """The run's definition and compiled graph. Raises RunNotFound, or StorageCorrupt for a definition of another version."""
        graphs = await self.partition_for(run_id).load_graphs([run_id])
        if run_id not in graphs:
            raise RunNotFound(run_id)
        return graphs[run_id]

    async def get_tasks(self, run_id: str, *, start: int, count: int) -> list[TaskView]:
        """Tasks `start` … `start + count - 1` in the definition's order, from one moment; fewer at the end."""
        return (await self.get_run_and_tasks(run_id, start=start, count=count))[1]

    async def get_run_and_tasks(self, run_id: str, *, start: int, count: int) -> tuple[RunView, list[TaskView]]:
        """The run and a page of its tasks as they were at one moment, so that counts and tasks agree."""
        graph = (await self.get_graph(run_id)).graph
        indices = range(start, min(start + count, len(graph.tasks)))
        run, records = await self._records(run_id, indices)
        return run, await self._reasoned([task_view(graph, index, record, run) for index, record in zip(indices, records, strict=True)])

    async def get_task(self, run_id: str, task_id: str) -> TaskView:
        """One task. Raises RunNotFound or TaskNotFound."""
        graph, index = await self._index(run_id, task_id)
        run, records = await self._records(run_id, range(index, index + 1))
        return (await self._reasoned([task_view(graph.graph, index, records[0], run)]))[0]

    async def get_attempts(self, run_id: str, task_id: str) -> list[AttemptView]:
        """Attempts of a task that failed and were tried again, or were lost, in order."""
        _, index = await self._index(run_id, task_id)
        task = await self.get_task(run_id, task_id)
        keys, fields = self.partition_for(run_id).keys, [f"{index}:{attempt}" for attempt in range(1, task.attempts + 1)]
        if not fields:
            return []
        run = await self.get_run(run_id)
        with translated(self.address):
            values = await cast("Awaitable[list[str | None]]", self._client.hmget(keys.attempts(run_id), fields))
        return [attempt_view(number, value, run.created_at_ms) for number, value in enumerate(values, 1) if value]

    async def get_effects(self, run_id: str, task_id: str) -> list[EffectView]:
        """The effects that a task's attempts have announced, in the order of their first announcement."""
        _, index = await self._index(run_id, task_id)
        keys = self.partition_for(run_id).keys
        with translated(self.address):
            names = (await cast("Awaitable[str | None]", self._client.hget(keys.effects(run_id), str(index))) or "").split(" ")
            if names == [""]:
                return []
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hmget(keys.run(run_id), FIELDS)
            pipeline.hget(keys.tasks(run_id), str(index))
            pipeline.hmget(keys.effects(run_id), [f"{index}:{name}" for name in names])
            row, record, notes = cast("tuple[list[str | None], str | None, list[str | None]]", await pipeline.execute())
        run = _found(run_id, _row(row))
        return [effect_view(run, task_id, name, note, record) for name, note in zip(names, notes, strict=True) if note]

    async def get_events(self, run_id: str, *, after: int, limit: int) -> list[EventView]:
        """Events with sequence numbers `after + 1` … `after + limit`; numbers are dense from 1."""
        graph = (await self.get_graph(run_id)).graph
        run = await self.get_run(run_id)
        keys = self.partition_for(run_id).keys
        with translated(self.address):
            lines = await cast("Awaitable[list[str]]", self._client.lrange(keys.events(run_id), after, after + limit - 1))
        return [event_view(graph, after + number, line, run.created_at_ms) for number, line in enumerate(lines, 1)]

    async def list_runs(
        self,
        *,
        status: RunState | None = None,
        name: str | None = None,
        label: tuple[str, str] | None = None,
        after_ms: int | None = None,
        before_ms: int | None = None,
        cursor: str | None = None,
        limit: int = 50,
        tenant: str | None = None,
    ) -> RunPage:
        """Runs, newest first. A page may be short although there are more: `next_cursor` alone says whether there are.

        A `tenant` has a list of its own, so that a page costs the same beside however many runs of others; but for those of the default
        tenant, which are looked for among all. `after_ms` is exclusive, `before_ms` too. Raises ValueError for a cursor that no page gave.
        """
        place = _parse_cursor(cursor)
        page: list[RunView] = []
        looked = 0
        while looked < SCAN_LIMIT:
            ids, exhausted = await self._newest(tenant, place, after_ms, before_ms)
            looked += len(ids)
            for run in await self._runs(ids):
                place = run.created_at_ms, run.run_id
                if tenant in {None, run.tenant} and _matches(run, status, name, label):
                    page.append(run)
                if len(page) == limit:
                    return RunPage(page, f"{place[0]}.{place[1]}")
            if exhausted:
                return RunPage(page, None)
            place = ids[-1]
        return RunPage(page, f"{place[0]}.{place[1]}" if place else None)

    async def limbo_repairs(self) -> int:
        """How often the audit has repaired something; above 0, the server has forgotten something."""
        with translated(self.address):
            pipeline = self._client.pipeline(transaction=False)
            for partition in self.partitions:
                pipeline.hget(partition.keys.counters, "limbo_repairs")
            return sum(int(count or 0) for count in await pipeline.execute())

    async def _reasoned(self, tasks: list[TaskView]) -> list[TaskView]:
        if not any(task.state is TaskState.READY for task in tasks):
            return tasks
        pods = await self.fresh_pods()
        return tasks if pods is None else with_reasons(tasks, pods)

    async def _index(self, run_id: str, task_id: str) -> tuple[RunGraph, int]:
        graph = await self.get_graph(run_id)
        index = graph.graph.index_of.get(task_id)
        if index is None:
            raise TaskNotFound(run_id, task_id)
        return graph, index

    async def _records(self, run_id: str, indices: range) -> tuple[RunView, list[str | None]]:
        keys = self.partition_for(run_id).keys
        records: list[str | None] = []
        with translated(self.address):
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hmget(keys.run(run_id), FIELDS)
            for at in range(indices.start, indices.stop, 1_000):
                pipeline.hmget(keys.tasks(run_id), [str(index) for index in range(at, min(at + 1_000, indices.stop))])
            first, *pages = cast("list[list[str | None]]", await pipeline.execute())
        for page in pages:
            records += page
        return _found(run_id, _row(first)), records

    async def _newest(
        self, tenant: str | None, place: tuple[int, str] | None, after_ms: int | None, before_ms: int | None
    ) -> tuple[list[tuple[int, str]], bool]:
        """Up to SCAN_ROWS (created, id) behind `place` over all partitions, newest first, and whether that was all."""
        upper = str(place[0]) if place else f"({before_ms}" if before_ms is not None else "+inf"
        lower = f"({after_ms}" if after_ms is not None else "-inf"
        wanted = SCAN_ROWS + 1
        while True:
            rows = await self._rows(tenant, upper, lower, wanted)
            # Of a partition with more rows than were asked for, those behind its last one are not known: nothing older may be told yet.
            cut = [row[-1] for row in rows if len(row) == wanted]
            behind = sorted((entry for row in rows for entry in row if place is None or entry < place), reverse=True)
            told = [entry for entry in behind if entry >= max(cut)] if cut else behind
            if told or not cut:
                return told[:SCAN_ROWS], not cut and len(told) <= SCAN_ROWS
            # More runs of one millisecond than rows.
            wanted *= 2

    async def _rows(self, tenant: str | None, upper: str, lower: str, count: int) -> list[list[tuple[int, str]]]:
        """For each partition its newest (created, id) between two scores."""
        with translated(self.address):
            pipeline = self._client.pipeline(transaction=False)
            for partition in self.partitions:
                index = partition.keys.runs if tenant is None or tenant == DEFAULT_TENANT else partition.keys.runs_of(tenant)
                pipeline.zrevrangebyscore(index, upper, lower, start=0, num=count, withscores=True)
            rows = cast("list[list[tuple[str, float]]]", await pipeline.execute())
        return [[(int(score), run_id) for run_id, score in row] for row in rows]

    async def _runs(self, ids: Sequence[tuple[int, str]]) -> list[RunView]:
        if not ids:
            return []
        with translated(self.address):
            pipeline = self._client.pipeline(transaction=False)
            for _, run_id in ids:
                pipeline.hmget(self.partition_for(run_id).keys.run(run_id), FIELDS)
            rows = cast("list[list[str | None]]", await pipeline.execute())
        return [run_view(run_id, row) for (_, run_id), values in zip(ids, rows, strict=True) if (row := _row(values))]


def _row(values: Sequence[str | None]) -> RunRow:
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}


def _found(run_id: str, row: RunRow) -> RunView:
    if "state" not in row:
        raise RunNotFound(run_id)
    return run_view(run_id, row)


def _parse_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    found = CURSOR.fullmatch(cursor)
    if found is None or not is_run_id(found[2]):
        raise ValueError(f"no page gave the cursor {cursor[:100]!r}")
    return int(found[1]), found[2]


def _matches(run: RunView, status: RunState | None, name: str | None, label: tuple[str, str] | None) -> bool:
    if status is not None and run.state is not status:
        return False
    if name is not None and run.name != name:
        return False
    return label is None or run.labels.get(label[0]) == label[1]
