"""What clients of a cluster ask for: runs, and what is known of them. Each call is noted in the cluster's history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from pydantic import JsonValue

from engine.compile import compile_document
from engine.errors import RunAlreadyFinished, RunNotFound
from peerflow.testing.history import History
from peerflow.testing.loops import LoopThread
from peerflow.testing.pods import ClusterPod
from peerflow.testing.records import RunRecord, read_run
from scheduler.registry import Registry
from storage.store import Store
from storage.views import EventView, NewRun, RunView, TaskView

T = TypeVar("T")
POLL_SECONDS = 0.002


class PodGone(ConnectionError):
    """The pod that was asked died, or stood still, before it answered: whether it did what it was asked is unknown."""


class Caller:
    """A client of all pods, on a store of its own that no fault meets; or, where a call says so, on a pod's."""

    history: History
    _client: LoopThread
    _store: Store
    _registry: Registry

    def submit(self, definition: Mapping[str, Any], idempotency_key: str | None = None, *, through: ClusterPod | None = None) -> str:
        """Starts a run and answers its id. Raises DefinitionError, IdempotencyConflict.

        `through` names the pod that gets the request, and whose fault plan it meets: PodGone where that pod is lost meanwhile.
        """
        document: JsonValue = dict(definition)
        parsed, graph = compile_document(document, functions=self._registry.names())
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        new = NewRun(parsed, graph, idempotency_key, body_digest=digest)
        number = self.history.invoke("post", idempotency_key=idempotency_key)
        try:
            created = self._ask(through, lambda store: store.create_run(new))
        except BaseException:
            self.history.unknown(number)
            raise
        self.history.ok(number, run_id=created.run_id, existing=created.existing)
        return created.run_id

    def cancel(self, run_id: str, reason: str = "the test says so", *, through: ClusterPod | None = None) -> str:
        """Cancels a run and answers its state. Raises RunNotFound, RunAlreadyFinished, PodGone."""
        number = self.history.invoke("cancel", run_id=run_id)
        try:
            state = self._ask(through, lambda store: store.cancel(run_id, reason)).state
        except (RunNotFound, RunAlreadyFinished):
            self.history.fail(number, run_id=run_id)
            raise
        except BaseException:
            # It may have been applied before the answer was lost.
            self.history.unknown(number, run_id=run_id)
            raise
        self.history.ok(number, run_id=run_id, state=state.value)
        return state.value

    def status(self, run_id: str) -> RunView:
        """The run without its tasks. Raises RunNotFound."""
        return self._ask(None, lambda store: store.get_run(run_id))

    def tasks(self, run_id: str) -> dict[str, TaskView]:
        """All tasks of a run by id."""
        return {task.id: task for task in self.record(run_id).tasks}

    def results(self, run_id: str) -> dict[str, JsonValue]:
        """Task id → result, of the tasks that have succeeded."""
        return {task.id: task.result for task in self.record(run_id).tasks if task.state == "succeeded"}

    def events(self, run_id: str) -> list[EventView]:
        """All events of a run in order."""
        return list(self.record(run_id).events)

    def record(self, run_id: str) -> RunRecord:
        """The whole run as readers see it."""
        return self._ask(None, lambda store: read_run(store, run_id))

    def exists(self, run_id: str) -> bool:
        """False for a run that was forgotten after its retention."""
        try:
            self.status(run_id)
        except RunNotFound:
            return False
        return True

    def limbo_repairs(self) -> int:
        """How often the pods' audits found something to repair: never, where the server has forgotten nothing."""
        return self._ask(None, lambda store: store.limbo_repairs())

    def _ask(self, through: ClusterPod | None, question: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        if through is None:
            return self._client.run(question(self._store))
        if not through.lives:
            raise PodGone(f"{through} does not answer")
        asked = through.begin(question(through.store))
        while True:
            try:
                return asked.result(POLL_SECONDS)
            except FutureTimeout:
                if asked.done():
                    return asked.result()
                if not through.lives:
                    raise PodGone(f"{through} was lost before it answered") from None
