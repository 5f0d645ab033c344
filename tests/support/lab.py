"""One partition of a server, and pods that make one call at a time, as a test says."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import redis
from pydantic import JsonValue
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from storage.graphs import RunGraph
from storage.keys import idempotency_digest
from storage.scripts import Answer, Argument, call_blocking
from storage.store import Store
from storage.views import DEFAULT_TENANT, Created, NewRun
from tests.support.access import admin
from tests.support.key_dump import Narrator, Raw, Shown, changes, read_keys
from tests.support.lab_pod import LabPod

TTL_MS = 10_000
FUNCTIONS = ("task_a", "task_b", "task_c", "echo", "sleep")


def dag(*, on_failure: Any = "continue", **depends_on: str | Mapping[str, Any]) -> dict[str, JsonValue]:
    """A DAG of `task_a`s: each argument is a task id, its value the ids that it depends on, or a whole task."""
    tasks: dict[str, Any] = {
        task_id: {"task": "task_a", "depends_on": given.split()} if isinstance(given, str) else {"task": "task_a", **given}
        for task_id, given in depends_on.items()
    }
    return {"on_failure": on_failure, "tasks": tasks}


def fan(width: int, *, joined: bool = True, **fields: Any) -> dict[str, JsonValue]:
    """1 → width → 1 (or without the last one): `first`, `m0` …, `last`."""
    middle: dict[str, JsonValue] = {f"m{number}": {"task": "task_a", "depends_on": ["first"]} for number in range(width)}
    tasks: dict[str, JsonValue] = {"first": {"task": "task_a"}, **middle}
    if joined:
        tasks["last"] = {"task": "task_a", "depends_on": list[JsonValue](middle)}
    return {"tasks": tasks, **fields}


class Lab:
    """A store on a namespace of the test's own, and everything below its only partition."""

    def __init__(self, store: Store, client: redis.Redis, url: str) -> None:
        self.store, self.client, self.url = store, client, url
        self._caller = redis.Redis.from_url(url, socket_timeout=30, retry=Retry(NoBackoff(), 0))
        self.partition = store.partitions[0]
        self.keys = self.partition.keys
        self.narrator = Narrator(client)
        self.pods: list[LabPod] = []
        self.graphs: dict[str, RunGraph] = {}
        self.narrates = True
        """Whether instants are noted, so that dumps can be told in words; it costs two calls for each."""
        self._ops = itertools.count(1)

    @classmethod
    async def open(cls, url: str, namespace: str) -> Self:
        client = redis.Redis.from_url(admin(url), socket_timeout=30, retry=Retry(NoBackoff(), 0))
        return cls(await Store.open(url, namespace=namespace, retention_seconds=3_600), client, url)

    async def close(self) -> None:
        for pod in self.pods:
            pod.connection.disconnect()
        self.client.close()
        self._caller.close()
        await self.store.close()

    # What happens

    @contextmanager
    def moment(self) -> Generator[None]:
        """Remembers when something happened, by the server's clock."""
        if not self.narrates:
            yield
            return
        before = self.now_ms()
        try:
            yield
        finally:
            self.narrator.windows.insert(0, (before, self.now_ms()))

    async def create(self, document: dict[str, JsonValue], *, key: str | None = None, body: str = "body", **more: Any) -> str:
        """Creates a run through the store; `more` are its tenant, caller and trace. Answers its id."""
        return (await self.post(document, key=key, body=body, **more)).run_id

    async def post(self, document: dict[str, JsonValue], *, key: str | None = None, body: str = "body", **more: Any) -> Created:
        definition = WorkflowDefinition.model_validate(document)
        graph = compile_definition(definition)
        if key is not None:
            self.narrator.names[idempotency_digest(key, more.get("tenant", DEFAULT_TENANT))] = f"digest of {key}"
        with self.moment():
            created = await self.store.create_run(NewRun(definition, graph, key, body, **more))
        self.know(created.run_id, RunGraph(definition, graph))
        return created

    def know(self, run_id: str, graph: RunGraph) -> None:
        if run_id not in self.graphs:
            self.narrator.names[run_id] = f"R{len(self.graphs) + 1}"
        self.graphs[run_id] = graph

    def call(self, name: str, *args: Argument) -> Answer:
        """A script, as it is, by the user who may do what peerflow does."""
        with self.moment():
            return call_blocking(cast("Any", self._caller), name, self.keys.prefix, *args)

    def pod(
        self, name: str = "p1", functions: Sequence[str] = FUNCTIONS, queues: Sequence[str] = ("default",), *, ttl_ms: int = TTL_MS
    ) -> LabPod:
        """A pod that has said what it is."""
        pod = LabPod(self, name, functions, queues, ttl_ms)
        self.pods.append(pod)
        self.narrator.names[pod.who.capabilities_digest] = f"skills of {len(functions)}"
        pod.beat(say=True)
        return pod

    def op(self) -> str:
        """An operation id that dumps show as op1, op2, …"""
        return f"{next(self._ops):030d}"

    async def cancel(self, run_id: str) -> None:
        with self.moment():
            await self.store.cancel(run_id, "enough")

    # What is stored

    def now_ms(self) -> int:
        seconds, micros = self.client.time()
        return seconds * 1000 + micros // 1000

    def raw(self) -> Raw:
        """Everything, exactly."""
        return read_keys(self.client, self.keys.prefix)

    def shown(self, raw: Raw | None = None) -> Shown:
        """Everything, in words."""
        return self.narrator.shown(self.raw() if raw is None else raw)

    def changes(self, before: Raw) -> Shown:
        """What differs from an earlier `raw()`, in words; fails where something differs that words do not show."""
        after = self.raw()
        found = changes(self.shown(before), self.shown(after))
        assert found or before == after
        return found

    @contextmanager
    def unchanged(self, *apart: str) -> Generator[None]:
        """What happens inside changes nothing at all, apart from these keys."""

        def kept() -> Raw:
            return {key: value for key, value in self.raw().items() if key not in apart}

        before = kept()
        yield
        after = kept()
        if before != after:
            raise AssertionError(f"this changed: {changes(self.shown(before), self.shown(after)) or 'an instant'}")

    def key(self, name: str) -> str:
        return f"{self.keys.prefix}{name}"

    def record(self, run_id: str, index: int) -> str | None:
        value = cast("bytes | None", self.client.hget(self.keys.tasks(run_id), str(index)))
        return None if value is None else value.decode()

    def states(self, run_id: str) -> dict[str, str]:
        """Task id → state as stored; `pending` without a record."""
        records = cast("dict[bytes, bytes]", self.client.hgetall(self.keys.tasks(run_id)))
        return {
            task.id: records.get(str(task.index).encode(), b"pending ").split(b" ")[0].decode() for task in self.graphs[run_id].graph.tasks
        }

    def run_field(self, run_id: str, field: str) -> str | None:
        value = cast("bytes | None", self.client.hget(self.keys.run(run_id), field))
        return None if value is None else value.decode()

    def events(self, run_id: str) -> list[str]:
        """Events without their times."""
        lines = cast("list[bytes]", self.client.lrange(self.keys.events(run_id), 0, -1))
        return [line.decode().split(" ", 1)[1] for line in lines]

    def take_inbox(self, pod: LabPod) -> list[str]:
        """The messages to the pod, which has read them now."""
        with self.client.pipeline() as pipeline:
            pipeline.lrange(self.keys.inbox(pod.name), 0, -1)
            pipeline.delete(self.keys.inbox(pod.name))
            lines = cast("list[bytes]", pipeline.execute()[0])
        return [self.narrator.named(line.decode()) for line in lines]

    # What the pods are in. An instant that a test stores stands in a `moment()` too: a dump shows it by its distance from one.

    def stand_idle(self, *pods: LabPod) -> None:
        """As if these pods had just found nothing to claim."""
        for pod in pods:
            with self.moment():
                self.client.zadd(self.key("waiting"), {pod.who.capabilities_digest: self.now_ms()})
                self.client.zadd(self.key(f"waiting:{pod.who.capabilities_digest}"), {pod.name: self.now_ms()})
                self.client.pexpire(self.key(f"waiting:{pod.who.capabilities_digest}"), 90_000)
            self.take_inbox(pod)

    def set_deadline(self, pod: LabPod, in_ms: int) -> None:
        """As if the pod had last been heard of at another time; negative for a deadline that has passed."""
        with self.moment():
            self.client.zadd(self.keys.pods, {pod.name: self.now_ms() + in_ms})

    def bury(self, *pods: LabPod) -> None:
        """The pods' deadlines and leases have run out."""
        for pod in pods:
            self.set_deadline(pod, -1)
            for ref in cast("list[bytes]", self.client.zrange(self.keys.claims(pod.who.pod_id), 0, -1)):
                self.client.delete(self.key(f"lease:{ref[:32].decode()}"))

    def bring_forward(self, *prefixes: str) -> None:
        """Timers whose names start so are due now."""
        for member in cast("list[bytes]", self.client.zrange(self.key("timers"), 0, -1)):
            if member.decode().startswith(prefixes):
                with self.moment():
                    self.client.zadd(self.key("timers"), {member: self.now_ms()})

    # The end

    def clear(self) -> None:
        """Removes everything in the partition."""
        names = [self.key(name) for name in self.raw()]
        if names:
            self.client.delete(*names)
        self.graphs.clear()
        self.narrator.names.clear()

    async def tidy(self) -> None:
        """Ends every run, empties every pod, so that whatever is left without a TTL has no owner."""
        for run_id in [name.split(":")[1] for name in self.raw() if name.startswith("run:") and name.endswith(":events")]:
            self.call("cancel", run_id, "tidied up", "", 100)
        lanes = [lane.decode().split("/") for lane in cast("list[bytes]", self.client.zrange(self.key("lanes"), 0, -1))]
        janitor = self.pod("janitor", [function for _, function in lanes], [queue for queue, _ in lanes])
        while self.client.exists(self.key("lanes")):
            assert not await janitor.claim()
        for pod_id in [name.removeprefix("claims:") for name in self.raw() if name.startswith("claims:")]:
            while self.client.exists(self.keys.claims(pod_id)):
                self.call("heartbeat", pod_id, TTL_MS, self.now_ms() + 1, janitor.who.capabilities_digest, "", "")
        self.client.delete(self.keys.pods)
