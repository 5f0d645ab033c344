"""Compiled graphs of runs, kept by each pod: a definition never changes, so a pod compiles it once.

Runs of the same definition share one graph. `edges` is the form in which scripts are told of successors: five words for each,
"index in_degree flags priority lane"; flags is `a` where the task's failure is allowed, else `-`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

from pydantic import ValidationError

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import DefinitionError, StorageCorrupt
from engine.graph import Graph, GraphTask

PART_BYTES = 512 * 1024
"""A larger packed definition is staged in parts, so that no call moves more than this."""


@dataclass(slots=True)
class RunGraph:
    """A definition, its graph, and each task as scripts are told of it."""

    definition: WorkflowDefinition
    graph: Graph
    words: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.words = [
            f"{task.index} {max(1, self.graph.in_degree(task.index))} {'a' if task.allow_failure else '-'} {task.priority} {lane_of(task)}"
            for task in self.graph.tasks
        ]

    def edges(self, index: int, start: int, count: int) -> str:
        """Up to `count` successors of a task, from the `start`-th on, in the form that scripts read."""
        return " ".join([self.words[successor] for successor in self.graph.successors[index][start : start + count]])

    def roots(self, start: int, count: int) -> str:
        """Tasks without predecessors, likewise."""
        return " ".join([self.words[root] for root in self.graph.roots[start : start + count]])

    def entries(self, start: int, count: int) -> str:
        """Up to `count` tasks from index `start` on as "index flags priority lane", by which the ready queue and timers name them."""
        return " ".join(
            [
                f"{task.index} {'a' if task.allow_failure else '-'} {task.priority} {lane_of(task)}"
                for task in self.graph.tasks[start : start + count]
            ]
        )


def lane_of(task: GraphTask) -> str:
    """The part of the ready queue that a task waits in: only pods with this queue and this function look at it."""
    return f"{task.queue}/{task.function}"


def pack(definition: WorkflowDefinition) -> bytes:
    """The definition as storage keeps it: compact JSON, compressed."""
    return zlib.compress(definition.to_json().encode(), 6)


def parts_of(packed: bytes) -> list[bytes]:
    """The packed definition in parts of at most 512 KiB."""
    return [packed[at : at + PART_BYTES] for at in range(0, len(packed), PART_BYTES)]


def unpack(packed: bytes) -> RunGraph:
    """Compiles a stored definition; it was checked when it was stored. Raises StorageCorrupt for what this version does not understand."""
    try:
        definition = WorkflowDefinition.model_validate_json(zlib.decompress(packed))
        return RunGraph(definition, compile_definition(definition, functions=None))
    except (zlib.error, ValidationError, DefinitionError) as error:
        raise StorageCorrupt(f"{type(error).__name__}: {error}") from error


class GraphCache:
    """The graphs of the runs that this pod has to do with, the least recently used dropped first.

    `max_tasks` bounds what is held: about 1 KiB a task.
    """

    def __init__(self, *, max_tasks: int = 400_000, max_runs: int = 20_000) -> None:
        self._by_run: OrderedDict[str, tuple[str, RunGraph]] = OrderedDict()
        self._by_digest: dict[str, tuple[RunGraph, set[str]]] = {}
        self._traces: dict[str, str] = {}
        self._tasks = 0
        self._max_tasks, self._max_runs = max_tasks, max_runs

    def get(self, run_id: str) -> RunGraph | None:
        entry = self._by_run.get(run_id)
        if entry is None:
            return None
        self._by_run.move_to_end(run_id)
        return entry[1]

    def known(self, packed: bytes) -> RunGraph | None:
        """The graph of an equal definition, if some run had it."""
        entry = self._by_digest.get(_digest(packed))
        return entry[0] if entry else None

    def trace_of(self, run_id: str) -> str:
        """The trace context that came with the run's definition, or an empty text."""
        return self._traces.get(run_id, "")

    def put(self, run_id: str, packed: bytes, graph: RunGraph, *, trace: str = "") -> RunGraph:
        """Keeps `graph` for a run; an equal definition's graph is shared and returned instead."""
        if run_id in self._by_run:
            self._drop(run_id)
        digest = _digest(packed)
        shared, runs = self._by_digest.setdefault(digest, (graph, set()))
        if not runs:
            self._tasks += len(shared.words)
        runs.add(run_id)
        self._by_run[run_id] = (digest, shared)
        if trace:
            self._traces[run_id] = trace
        while len(self._by_run) > 1 and (len(self._by_run) > self._max_runs or self._tasks > self._max_tasks):
            self._drop(next(iter(self._by_run)))
        return shared

    def _drop(self, run_id: str) -> None:
        digest, graph = self._by_run.pop(run_id)
        runs = self._by_digest[digest][1]
        runs.discard(run_id)
        self._traces.pop(run_id, None)
        if not runs:
            del self._by_digest[digest]
            self._tasks -= len(graph.words)


def _digest(packed: bytes) -> str:
    return hashlib.blake2b(packed, digest_size=16).hexdigest()
