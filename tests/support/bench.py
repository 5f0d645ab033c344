"""A store, and pods of this process on it, with task functions that a test defines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.events import Event
from engine.observer import Observer
from scheduler.identity import PodOptions
from scheduler.pod import Pod
from scheduler.registry import Registry
from storage.store import Store
from storage.views import NewRun, RunView, TaskView
from tests.support.waiting import wait_until_async


class Recorder:
    """Keeps what was published, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event, /) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]


class Bench:
    """One namespace of a server, and what a test needs around it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.published = Recorder()
        self.pods: list[Pod] = []

    @classmethod
    async def open(cls, url: str, namespace: str) -> Self:
        return cls(await Store.open(url, namespace=namespace))

    async def pod(
        self,
        *functions: Callable[..., Any],
        in_processes: Sequence[Callable[..., Any]] = (),
        executor: str | None = None,
        ttl_seconds: float = 10.0,
        observer: Observer | None = None,
        **options: Any,
    ) -> Pod:
        """Starts a pod that has these functions, and waits until it is ready."""
        registry = Registry()
        for function in functions:
            registry.register(function, executor=executor)
        for function in in_processes:
            registry.register(function, executor="process")
        pod = Pod(self.store, registry, self.published, PodOptions(lease_ttl_seconds=ttl_seconds, **options), observer=observer)
        self.pods.append(pod)
        await pod.start()
        await wait_until_async(lambda: pod.readiness().ready or None, "the pod is ready")
        return pod

    async def post(self, document: dict[str, Any]) -> str:
        definition = WorkflowDefinition.model_validate(document)
        created = await self.store.create_run(NewRun(definition, compile_definition(definition, functions=None)))
        return created.run_id

    async def run(self, document: dict[str, Any]) -> tuple[RunView, dict[str, TaskView]]:
        """Posts a definition and waits for its end."""
        return await self.finished(await self.post(document))

    async def finished(self, run_id: str, within_seconds: float = 20.0) -> tuple[RunView, dict[str, TaskView]]:
        """The run once it has ended, and its tasks by id."""

        async def ended() -> bool:
            return (await self.store.get_run(run_id)).state.terminal

        await wait_until_async(ended, f"run {run_id} has ended", within_seconds)
        run, tasks = await self.store.get_run_and_tasks(run_id, start=0, count=100_000)
        return run, {task.id: task for task in tasks}

    async def task(self, run_id: str, task_id: str) -> TaskView:
        return await self.store.get_task(run_id, task_id)

    async def event_types(self, run_id: str) -> list[str]:
        return [event.type for event in await self.store.get_events(run_id, after=0, limit=1000)]

    async def stop(self, pod: Pod) -> None:
        self.pods.remove(pod)
        await pod.stop()

    async def close(self) -> None:
        for pod in list(self.pods):
            await self.stop(pod)
        await self.store.close()
