"""A run that is made up: events, tasks and a history as a correct engine would leave them, without one. Tests then break them."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.states import RunState, TaskState
from peerflow.testing.history import History
from peerflow.testing.records import RunRecord
from storage.views import AttemptView, EventView, RunView, TaskView

CREATED_AT_MS = 1_790_000_000_000
NUMBERS = itertools.count(1)


@dataclass
class FakeTask:
    state: TaskState = TaskState.PENDING
    attempts: int = 0
    lost: int = 0
    failures: int = 0
    token: int = 0
    pod: str | None = None
    slept: bool = False
    log: list[AttemptView] = field(default_factory=list[AttemptView])


class FakeRun:
    """One run; each method is what one call of a correct engine does. Time goes on by 10 ms with each."""

    def __init__(self, document: dict[str, Any], history: History | None = None, *, max_lost: int = 3) -> None:
        definition = WorkflowDefinition.model_validate(document)
        self.graph = compile_definition(definition)
        self.run_id = f"01890a5d-ac96-774b-bcce-{next(NUMBERS):012x}"
        self.history = history or History()
        self.max_lost = max_lost
        self.now_ms = CREATED_AT_MS
        self.events: list[EventView] = []
        self.tasks = {task.id: FakeTask() for task in self.graph.tasks}
        self.state = RunState.RUNNING
        self.started_at_ms: int | None = None
        self.finished_at_ms: int | None = None
        self.emit("run_created")
        for root in self.graph.roots:
            self._ready(self.graph.tasks[root].id)

    def emit(self, kind: str, task_id: str | None = None, *, detail: str | None = None, **changes: Any) -> None:
        """Adds an event, by the current claim of its task unless `changes` say otherwise."""
        task = self.tasks.get(task_id or "", FakeTask())
        by_attempt = kind not in {"task_ready", "task_skipped"} and task_id is not None
        event = EventView(
            len(self.events) + 1,
            self.now_ms,
            kind,
            task_id,
            task.attempts if by_attempt else None,
            task.pod if by_attempt else None,
            detail,
        )
        self.events.append(replace(event, **changes))

    def claim(self, task_id: str, pod: str = "p1", *, runs: bool = True) -> FakeTask:
        """A pod claims the task; its code starts unless the pod never hears of it."""
        self.now_ms += 10
        task = self.tasks[task_id]
        assert task.state is TaskState.READY
        assert self.state is RunState.RUNNING
        self.started_at_ms = self.started_at_ms or self.now_ms
        task.state, task.attempts, task.pod = TaskState.RUNNING, task.attempts + 1, pod
        task.token = max(task.token + 1, self.now_ms * 1000)
        self.emit("task_started", task_id)
        held = replace(task)
        if runs:
            self.starts(task_id, held)
        return held

    def starts(self, task_id: str, held: FakeTask) -> None:
        """Code of a claim begins, at once or long after it was lost."""
        self.history.attempt_started(**self._attempt(task_id, held))

    def _attempt(self, task_id: str, held: FakeTask) -> dict[str, Any]:
        return {"run_id": self.run_id, "task_id": task_id, "attempt": held.attempts, "fencing_token": held.token, "pod_id": held.pod}

    def returns(self, task_id: str, held: FakeTask, outcome: str = "succeeded") -> None:
        """Code of a claim ends; nothing is committed yet."""
        self.history.attempt_ended(**self._attempt(task_id, held), outcome=outcome)

    def succeed(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self._commit(task_id, "succeeded")

    def fail(self, task_id: str) -> None:
        """For good."""
        self._commit(task_id, "failed")

    def retry(self, task_id: str) -> None:
        """It failed, and will be tried again."""
        task = self.tasks[task_id]
        self._commit(task_id, "retry")
        if self.state is RunState.RUNNING:
            task.failures += 1
            task.log.append(AttemptView(task.attempts, "failed", self.now_ms, self.now_ms, task.pod or "", None))

    def sleep(self, task_id: str) -> None:
        self._commit(task_id, "sleep")
        self.tasks[task_id].slept = True

    def fire(self, task_id: str, after_ms: int = 60_000) -> None:
        """A retry or a sleep is over."""
        self.now_ms += after_ms
        task = self.tasks[task_id]
        assert task.state is TaskState.WAITING
        if task.slept:
            self.emit("task_succeeded", task_id)
            self._end(task_id, TaskState.SUCCEEDED)
        else:
            self._ready(task_id)

    def give_back(self, task_id: str, why: str = "released") -> None:
        """Uncharged: `released`, or `unheard`."""
        self.now_ms += 10
        task = self.tasks[task_id]
        self.emit(f"task_{why}", task_id)
        if self.state is RunState.RUNNING:
            task.attempts -= 1
            self._ready(task_id)
        else:
            task.state = TaskState.CANCELLED

    def lose(self, task_id: str) -> None:
        """Its pod is dead to the others."""
        self.now_ms += 10
        task = self.tasks[task_id]
        self.emit("task_lost", task_id)
        if self.state is not RunState.RUNNING:
            task.state = TaskState.CANCELLED
            return
        task.lost += 1
        if task.lost > self.max_lost:
            self.emit("task_failed", task_id, detail="Lost")
            self._end(task_id, TaskState.FAILED)
        else:
            task.log.append(AttemptView(task.attempts, "lost", self.now_ms, self.now_ms, task.pod or "", None))
            self._ready(task_id)

    def cancel(self) -> None:
        self.now_ms += 10
        if self.state is RunState.RUNNING:
            self.end_run(RunState.CANCELLED)

    def _commit(self, task_id: str, outcome: str) -> None:
        self.now_ms += 10
        task = self.tasks[task_id]
        assert task.state is TaskState.RUNNING
        self.returns(task_id, task, "failed" if outcome in {"failed", "retry"} else "succeeded")
        if self.state is not RunState.RUNNING:
            self.emit("task_cancelled", task_id)
            task.state = TaskState.CANCELLED
            return
        self.emit(f"task_{outcome}", task_id)
        if outcome in {"retry", "sleep"}:
            task.state = TaskState.WAITING
        else:
            self._end(task_id, TaskState(outcome))

    def _end(self, task_id: str, state: TaskState) -> None:
        self.tasks[task_id].state = state
        task = self.graph.tasks[self.graph.index_of[task_id]]
        if state is TaskState.FAILED and not task.allow_failure and self.graph.on_failure == "stop":
            self.end_run(RunState.FAILED)
            return
        for index in self.graph.successors[task.index]:
            self._decide(self.graph.tasks[index].id)
        states = {other: self.tasks[other].state for other in self.tasks}
        if all(other.terminal for other in states.values()) and self.state is RunState.RUNNING:
            hard = any(state is TaskState.FAILED and not self.allowed(other) for other, state in states.items())
            self.end_run(RunState.FAILED if hard else RunState.SUCCEEDED)

    def allowed(self, task_id: str) -> bool:
        return self.graph.tasks[self.graph.index_of[task_id]].allow_failure

    def _decide(self, task_id: str) -> None:
        before = self.graph.predecessors[self.graph.index_of[task_id]]
        states = [self.tasks[self.graph.tasks[index].id].state for index in before]
        if self.tasks[task_id].state is not TaskState.PENDING:
            return
        if any(state in {TaskState.FAILED, TaskState.SKIPPED} for state in states):
            self.emit("task_skipped", task_id)
            self._end(task_id, TaskState.SKIPPED)
        elif all(state is TaskState.SUCCEEDED for state in states):
            self._ready(task_id)

    def _ready(self, task_id: str) -> None:
        self.emit("task_ready", task_id)
        self.tasks[task_id].state = TaskState.READY

    def end_run(self, state: RunState) -> None:
        self.state, self.finished_at_ms = state, self.now_ms
        self.emit(f"run_{state}")

    def record(self) -> RunRecord:
        """What readers see now."""
        tasks = tuple(self._view(index) for index in range(len(self.graph.tasks)))
        counts = Counter(task.state for task in tasks)
        run = RunView(
            run_id=self.run_id,
            name=self.graph.name,
            state=self.state,
            created_at_ms=CREATED_AT_MS,
            started_at_ms=self.started_at_ms,
            finished_at_ms=self.finished_at_ms,
            total=len(tasks),
            counts={state: counts[state] for state in TaskState},
            on_failure=self.graph.on_failure,
        )
        logs = {task_id: tuple(task.log) for task_id, task in self.tasks.items()}
        return RunRecord(run, tasks, tuple(self.events), self.graph, logs)

    def _view(self, index: int) -> TaskView:
        known = self.graph.tasks[index]
        task = self.tasks[known.id]
        state = TaskState.CANCELLED if self.state.terminal and not task.state.terminal else task.state
        return TaskView(
            index=index,
            id=known.id,
            function=known.function,
            queue=known.queue,
            priority=known.priority,
            state=state,
            attempts=task.attempts,
            lost=task.lost,
            depends_on=tuple(self.graph.tasks[before].id for before in self.graph.predecessors[index]),
            pod=task.pod,
            fencing_token=task.token or None,
        )
