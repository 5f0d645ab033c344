"""Answers why tasks do not run, now and before: from records, events, notes of pods, and what pods say of themselves.

Every answer costs what its page costs: heads of records without their results, the events of a run that has few (EVENTS) or else the
log of attempts, one list of notes for each lane of the page.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import cast

from engine.errors import RunNotFound, TaskNotFound
from engine.explain import Mark, Note
from engine.graph import Graph
from engine.reasons import Reason
from engine.states import TaskState
from storage.ancestors import Ancestors
from storage.capacity import find_reason
from storage.connection import translated
from storage.explained import Explained
from storage.explanation import EVERYWHERE, Explaining
from storage.log_reading import LogReader
from storage.marks import Head, marks_of_events, marks_of_record
from storage.reading import FIELDS
from storage.records import run_view
from storage.scripts import Answer, call
from storage.stuck import nothing_runs
from storage.views import RunView

HEADS_PER_CALL = 500
EVENTS = 4_000
"""Of a run with more events, intervals come from the tasks' records."""
SCANNED = 5_000
"""Tasks that a page of those that have not ended looks at."""
CODES = frozenset(reason.value for reason in Reason)
LOOKED = 1_000
"""Tasks among which a run that is stuck is looked into."""
LOGGED = 50
"""Earlier attempts of a task that are told, the last ones."""


class Explainer(LogReader):
    """The part of the Store that explains."""

    async def explain_task(self, run_id: str, task_id: str) -> Explained:
        """One task. Raises RunNotFound or TaskNotFound."""
        graph = (await self.get_graph(run_id)).graph
        index = graph.index_of.get(task_id)
        if index is None:
            raise TaskNotFound(run_id, task_id)
        return await self._explain(run_id, graph, [index], None)

    async def explain(self, run_id: str, *, start: int = 0, count: int = 100, unended: bool = False) -> Explained:
        """Up to `count` tasks from `start` on, in the definition's order; with `unended` only those that have not ended.

        A page may be short although there are more. Raises RunNotFound.
        """
        graph = (await self.get_graph(run_id)).graph
        total = len(graph.tasks)
        if not unended:
            indices = range(start, min(start + count, total))
            return await self._explain(run_id, graph, indices, indices.stop if indices.stop < total else None)
        found: list[int] = []
        at, end = start, min(start + SCANNED, total)
        while at < end:
            run, _, _, heads = await self._heads(run_id, range(at, min(at + HEADS_PER_CALL, end)))
            for index, head in heads.items():
                at = index + 1
                if not run.state.terminal and not head.state.terminal:
                    found.append(index)
                    if len(found) == count:
                        return await self._explain(run_id, graph, found, at if at < total else None)
        return await self._explain(run_id, graph, found, at if at < total else None)

    async def why_nothing_runs(self, run: RunView) -> str | None:
        """Of a run that has ready tasks and none that runs: why, if one of its first tasks tells; None of any other run."""
        pods = await self.fresh_pods() if nothing_runs(run) else None
        if pods is None:
            return None
        graph, lanes = (await self.get_graph(run.run_id)).graph, set[tuple[str, str]]()
        for at in range(0, min(LOOKED, len(graph.tasks)), HEADS_PER_CALL):
            heads = (await self._heads(run.run_id, range(at, min(at + HEADS_PER_CALL, len(graph.tasks)))))[3]
            for task in (graph.tasks[index] for index, head in heads.items() if head.state is TaskState.READY):
                if (lane := (task.function, task.queue)) not in lanes:
                    lanes.add(lane)
                    found = find_reason(*lane, pods)
                    if found.reason is not Reason.QUEUED:
                        return f"nothing runs: {found.text} (task {task.id})"
        return None

    async def _explain(self, run_id: str, graph: Graph, indices: Sequence[int], next_start: int | None) -> Explained:
        run, now_ms, events, heads = await self._heads(run_id, indices, logged=LOGGED)
        marks = await self._marks(run, events, {index: heads[index] for index in indices})
        tried = (graph.tasks[index] for index in indices if heads[index].state is not TaskState.PENDING)
        lanes = {(task.queue, task.function) for task in tried}
        notes = await self._notes(run_id, lanes)
        live = not run.state.terminal
        pods = await self.pods() if live else []

        async def fetch(more: Sequence[int]) -> dict[int, Head]:
            return (await self._heads(run_id, more))[3]

        ancestors = Ancestors(graph, fetch, dict(heads))
        if live:
            await ancestors.prepare([index for index in indices if heads[index].state is TaskState.PENDING])
        explaining = Explaining(run, graph, now_ms, pods, notes, ancestors)
        return Explained(run, now_ms, [await explaining.explanation(index, marks[index]) for index in indices], next_start)

    async def _heads(self, run_id: str, indices: Sequence[int], *, logged: int = 0) -> tuple[RunView, int, int, dict[int, Head]]:
        """The run, the server's time in ms, how many events there are, and the tasks' heads. Raises RunNotFound."""
        heads: dict[int, Head] = {}
        answer: Answer = []
        prefix, fields = self.partition_for(run_id).keys.prefix, " ".join(FIELDS)
        for at in range(0, max(1, len(indices)), HEADS_PER_CALL):
            batch = indices[at : at + HEADS_PER_CALL]
            with translated(self.address):
                answer = await call(self._client, "heads", prefix, run_id, fields, logged, *batch)
            heads |= {index: Head.parse(row) for index, row in zip(batch, answer[4], strict=True)}
        row = {name: value for name, value in zip(FIELDS, cast("list[str]", answer[3]), strict=True) if value}
        if "state" not in row:
            raise RunNotFound(run_id)
        return run_view(run_id, row), int(answer[1]), int(answer[2]), heads

    async def _marks(self, run: RunView, events: int, heads: dict[int, Head]) -> dict[int, list[Mark]]:
        if events > EVENTS:
            return {index: marks_of_record(head, run.created_at_ms) for index, head in heads.items()}
        keys = self.partition_for(run.run_id).keys
        with translated(self.address):
            lines = await cast("Awaitable[list[str]]", self._client.lrange(keys.events(run.run_id), 0, events - 1))
        return marks_of_events(lines, run.created_at_ms, frozenset(heads))

    async def _notes(self, run_id: str, lanes: set[tuple[str, str]]) -> dict[str, list[Note]]:
        """Lane → notes in order; those for all lanes are at EVERYWHERE."""
        keys = self.partition_for(run_id).keys
        names = [EVERYWHERE, *(f"{queue}/{function}" for queue, function in lanes)]
        with translated(self.address):
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.lrange(keys.waits(name), 0, -1)
            rows = cast("list[list[str]]", await pipeline.execute())
        return {name: notes_of(lines) for name, lines in zip(names, rows, strict=True)}


def notes_of(lines: Sequence[str]) -> list[Note]:
    """Notes from their lines, "code from to"; a code of a newer version is left out."""
    found: list[Note] = []
    for line in lines:
        code, from_ms, to_ms, *_ = line.split(" ")
        if code in CODES:
            found.append(Note(Reason(code), int(from_ms), int(to_ms)))
    return found
