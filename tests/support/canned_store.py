"""A stand-in for the Store in unit tests of the API: it keeps what it is told to store, and answers what the test has put into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from engine.errors import IdempotencyConflict, RunNotFound, TaskNotFound
from engine.graph import Graph
from engine.states import RunState, TaskState
from storage.explained import Explained, TaskExplanation
from storage.graphs import RunGraph
from storage.log_reading import LogLook, LogPage
from storage.store import Store
from storage.task_logs import LogLine, LogPlace, Piece
from storage.views import (
    AccessPage,
    AttemptView,
    Cancelled,
    Created,
    EffectView,
    EventView,
    FunctionView,
    NewRun,
    PodView,
    RunPage,
    RunView,
    TaskView,
)

RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
CREATED_AT_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


@dataclass
class CannedStore:
    """Only what the API calls. `failing` is raised by every call; `calls` counts them by name."""

    failing: Exception | None = None
    stored: list[NewRun] = field(default_factory=list[NewRun])
    runs: dict[str, tuple[RunView, RunGraph, list[TaskView]]] = field(default_factory=dict[str, tuple[RunView, RunGraph, list[TaskView]]])
    attempts: list[AttemptView] = field(default_factory=list[AttemptView])
    effects: list[EffectView] = field(default_factory=list[EffectView])
    events: list[EventView] = field(default_factory=list[EventView])
    explanations: list[TaskExplanation] = field(default_factory=list[TaskExplanation])
    explain_arguments: tuple[int, int, bool] | None = None
    next_start: int | None = None
    stuck: str | None = None
    known_functions: dict[str, FunctionView] = field(default_factory=dict[str, FunctionView])
    known_pods: list[PodView] = field(default_factory=list[PodView])
    repairs: int = 0
    list_arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    next_cursor: str | None = None
    cancelled: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    cancelled_by: list[str | None] = field(default_factory=list[str | None])
    calls: list[str] = field(default_factory=list[str])

    pieces: list[Piece] = field(default_factory=list[Piece])
    state_of_log: RunState = RunState.RUNNING

    def as_store(self) -> Store:
        return cast(Store, self)

    def put(self, new: NewRun, *, run_id: str = RUN_ID, tasks: Sequence[TaskView] | None = None) -> RunView:
        """Makes a run readable, its tasks ready unless given otherwise."""
        views = list(tasks) if tasks is not None else tasks_of(new.graph)
        counts = {state: sum(view.state is state for view in views) for state in TaskState}
        run = RunView(
            run_id, new.graph.name, RunState.RUNNING, CREATED_AT_MS, None, None, len(views), counts, new.definition.labels,
            tenant=new.tenant, created_by=new.caller,
        )  # fmt: skip
        self.runs[run_id] = (run, RunGraph(new.definition, new.graph), views)
        return run

    async def create_run(self, new: NewRun) -> Created:
        self._called("create_run")
        for number, earlier in enumerate(self.stored):
            if new.idempotency_key is not None and earlier.idempotency_key == new.idempotency_key:
                if earlier.body_digest != new.body_digest:
                    raise IdempotencyConflict(new.idempotency_key, f"{RUN_ID[:-1]}{number}")
                return Created(f"{RUN_ID[:-1]}{number}", RunState.RUNNING, "aof-everysec", existing=True)
        self.stored.append(new)
        run_id = f"{RUN_ID[:-1]}{len(self.stored) - 1}"
        self.put(new, run_id=run_id)
        return Created(run_id, RunState.RUNNING, "aof-everysec")

    async def get_run(self, run_id: str) -> RunView:
        self._called("get_run")
        return self._found(run_id)[0]

    async def get_graph(self, run_id: str) -> RunGraph:
        self._called("get_graph")
        return self._found(run_id)[1]

    async def get_tasks(self, run_id: str, *, start: int, count: int) -> list[TaskView]:
        self._called("get_tasks")
        return self._found(run_id)[2][start : start + count]

    async def get_run_and_tasks(self, run_id: str, *, start: int, count: int) -> tuple[RunView, list[TaskView]]:
        self._called("get_run_and_tasks")
        run, _, tasks = self._found(run_id)
        return run, tasks[start : start + count]

    async def get_task(self, run_id: str, task_id: str) -> TaskView:
        self._called("get_task")
        for task in self._found(run_id)[2]:
            if task.id == task_id:
                return task
        raise TaskNotFound(run_id, task_id)

    async def get_attempts(self, run_id: str, task_id: str) -> list[AttemptView]:
        self._called("get_attempts")
        del run_id, task_id
        return self.attempts

    async def get_effects(self, run_id: str, task_id: str) -> list[EffectView]:
        self._called("get_effects")
        del run_id, task_id
        return self.effects

    async def get_events(self, run_id: str, *, after: int, limit: int) -> list[EventView]:
        self._called("get_events")
        self._found(run_id)
        return [event for event in self.events if event.seq > after][:limit]

    def say(self, index: int, attempt: int, at_ms: int, dropped: int, body: bytes) -> None:
        """An attempt's lines arrive."""
        self.pieces.append(Piece(len(self.pieces) + 1, at_ms, index, attempt, "pod-1", dropped, body.decode()))

    def end_run(self, state: RunState) -> None:
        """The log's readers see it so."""
        self.state_of_log = state

    async def get_log(self, run_id: str, *, task_id: str | None = None, attempt: int | None = None, after: LogPlace, limit: int) -> LogPage:
        self._called("get_log")
        graph = self._found(run_id)[1].graph
        if task_id is not None and task_id not in graph.index_of:
            raise TaskNotFound(run_id, task_id)
        found = [
            line
            for piece in self.pieces
            for line in self.lines_of(graph, piece)
            if line.place > after and task_id in {None, line.task_id} and attempt in {None, line.attempt}
        ]
        page, more = found[:limit], len(found) > limit
        last = page[-1].place if page else after
        return LogPage(page, last, more, last.piece if more else len(self.pieces))

    async def log_dropped(self, run_id: str, *, task_id: str | None = None, attempt: int | None = None) -> int:
        self._called("log_dropped")
        del run_id, task_id, attempt
        return 0

    async def look_at_log(self, run_id: str, after: int) -> LogLook:
        self._called("look_at_log")
        self._found(run_id)
        pieces = self.pieces[after : after + 16]
        return LogLook(self.state_of_log, pieces, after + len(pieces))

    def lines_of(self, graph: Graph, piece: Piece) -> list[LogLine]:
        return piece.lines(graph.tasks[piece.index].id)

    async def why_nothing_runs(self, run: RunView) -> str | None:
        return self.stuck if run.counts[TaskState.READY] and not run.counts[TaskState.RUNNING] else None

    async def explain(self, run_id: str, *, start: int = 0, count: int = 100, unended: bool = False) -> Explained:
        self._called("explain")
        self.explain_arguments = (start, count, unended)
        return Explained(self._found(run_id)[0], CREATED_AT_MS + 312_000, self.explanations[start : start + count], self.next_start)

    async def explain_task(self, run_id: str, task_id: str) -> Explained:
        self._called("explain_task")
        run = self._found(run_id)[0]
        for task in self.explanations:
            if task.id == task_id:
                return Explained(run, CREATED_AT_MS + 312_000, [task], None)
        raise TaskNotFound(run_id, task_id)

    async def list_runs(self, **arguments: Any) -> RunPage:
        self._called("list_runs")
        self.list_arguments = arguments
        if arguments["cursor"] == "broken":
            raise ValueError("no cursor")
        return RunPage([run for run, _, _ in self.runs.values()], self.next_cursor)

    async def tenant_of(self, run_id: str) -> str:
        self._called("tenant_of")
        return self._found(run_id)[0].tenant

    @property
    def access_log(self) -> CannedStore:
        return self

    async def read(self, *, tenant: str | None, cursor: str | None, limit: int) -> AccessPage:
        """As the access log of a store in which nobody has done anything."""
        del tenant, cursor, limit
        self._called("access_log.read")
        return AccessPage([], None)

    async def cancel(self, run_id: str, reason: str, *, caller: str | None = None) -> Cancelled:
        self._called("cancel")
        self._found(run_id)
        self.cancelled_by.append(caller)
        self.cancelled.append((run_id, reason))
        return Cancelled(run_id, RunState.CANCELLED)

    async def functions(self) -> dict[str, FunctionView]:
        self._called("functions")
        return self.known_functions

    async def pods(self) -> list[PodView]:
        self._called("pods")
        return self.known_pods

    async def limbo_repairs(self) -> int:
        self._called("limbo_repairs")
        return self.repairs

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failing is not None:
            raise self.failing

    def _found(self, run_id: str) -> tuple[RunView, RunGraph, list[TaskView]]:
        if run_id not in self.runs:
            raise RunNotFound(run_id)
        return self.runs[run_id]


def tasks_of(graph: Graph, state: TaskState = TaskState.READY) -> list[TaskView]:
    """A view of each task of a graph, all in one state."""
    return [
        TaskView(
            index=task.index,
            id=task.id,
            function=task.function,
            queue=task.queue,
            priority=task.priority,
            state=state,
            attempts=0,
            lost=0,
            depends_on=tuple(graph.tasks[before].id for before in graph.predecessors[task.index]),
        )
        for task in graph.tasks
    ]
