"""The Store: runs are created, read and cancelled through it, and pods get their partitions from it."""

from __future__ import annotations

import asyncio
import json
import os
import time
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, cast

import redis.asyncio

from engine.errors import ConfigError, IdempotencyConflict, RunAlreadyFinished, RunNotFound, StorageCorrupt, StorageUnavailable
from engine.ids import RANDOM_BYTES
from engine.ids import run_id as new_run_id
from engine.observer import OnCall
from engine.states import RunState
from storage import tls
from storage.access_log import AccessLog
from storage.connection import Connections, close, connections_of, open_client, topology_of, translated
from storage.explaining import Explainer
from storage.graphs import PART_BYTES, GraphCache, RunGraph, pack, parts_of
from storage.heartbeats import HeartbeatConnection
from storage.keys import Keys, idempotency_digest, layout_key
from storage.partition import EDGES_PER_CALL, Partition
from storage.ready_queue import QueueDepths, read_depths
from storage.repeat import until_answered
from storage.rights import check_rights
from storage.scripts import all_scripts, call, observe_calls
from storage.server import Inspection, agree_on_layout, inspect, weakest
from storage.server_url import address_of, shown_address
from storage.spread_client import SpreadClient, slot_of
from storage.tokens import Tokens
from storage.topology import Route
from storage.views import DEFAULT_TENANT, Cancelled, Created, NewRun, ServerInfo

if TYPE_CHECKING:
    from storage.gate import Rig

ORPHAN_MS = 60_000
"""Parts of a definition whose creation was never finished go away after a minute."""
INLINE_TASKS = 500
"""A larger graph is packed in a thread, so that it does not hold up the loop."""
ANSWER_SECONDS = 3.0
"""How long a caller of the API waits through a blink of the server."""
API_CONNECTIONS = 50
INBOX_SECONDS = 30.0
"""How long an idle pod waits on its inbox before it looks for itself."""


class Store(Explainer):
    """One server, one namespace. Every method may raise StorageUnavailable, StorageRefused or StorageCorrupt."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "pf",
        partitions: int = 1,
        retention_seconds: float = 7 * 86_400.0,
        call_timeout_seconds: float = 2.5,
        access_entries: int = 10_000,
        rig: Rig | None = None,
    ) -> None:
        """Each partition keeps about the last `access_entries` of who did what. `rig` is for tests: what stands between this store and
        its server."""
        self._url, self._namespace, self._rig = url, namespace, rig
        self._topology = topology_of(url)
        self.several_servers = self._topology is not None and not self._topology.source.checks_role
        """Whether partitions are on several servers, of which some can be away while others are not: those of a cluster."""
        self.retention_seconds, self._call_timeout_seconds = retention_seconds, call_timeout_seconds
        # Three pools, so that neither callers of the API nor reads that block can take the loops' connections.
        client, self._loops, self._inbox = (
            self._open(seconds, connections, at_once, reads)
            for seconds, connections, at_once, reads in (
                (call_timeout_seconds, API_CONNECTIONS, 16, "read"),
                (call_timeout_seconds, 16 * partitions, 16, "graphs"),
                (INBOX_SECONDS + 5.0, 2 * partitions, 2, "inbox"),
            )
        )
        address = address_of(url)
        graphs = GraphCache()
        super().__init__(
            client, [Partition(self._loops, self._inbox, Keys(namespace, number), address, graphs) for number in range(partitions)], address
        )
        self.access_log = AccessLog(client, self.partitions, address)
        self._access_entries = access_entries
        self._durability = "unknown"
        self._on_call: OnCall | None = None

    def _open(self, timeout_seconds: float, connections: int, at_once: int, reads: str) -> redis.asyncio.Redis:
        """A client for all partitions: with so many connections, or in a cluster with `at_once` for each of them."""
        rig, topology = self._rig, self._topology

        def opened(route: Route | None, connections: int) -> redis.asyncio.Redis:
            return open_client(
                self._url,
                timeout_seconds=timeout_seconds,
                connections=connections,
                wait_seconds=self._call_timeout_seconds,
                name=rig.client_name if rig else "peerflow",
                route=route,
            )

        if topology is not None and self.several_servers:
            client = cast("redis.asyncio.Redis", SpreadClient(topology, lambda route: opened(route, at_once)))
        else:
            client = opened(topology and Route(topology), connections)
        return rig.around(client, reads) if rig else client

    @classmethod
    async def open(cls, url: str, *, namespace: str = "pf", partitions: int = 1, retention_seconds: float = 7 * 86_400.0) -> Self:
        """Connects and prepares. Raises ConfigError for a server that must not be used, StorageUnavailable where there is none."""
        store = cls(url, namespace=namespace, partitions=partitions, retention_seconds=retention_seconds)
        try:
            await store.prepare()
        except BaseException:
            await store.close()
            raise
        return store

    async def prepare(self) -> Inspection:
        """Checks the server, agrees on the layout and loads the scripts; may be called again after a failure."""
        inspection = await self._inspect()
        if inspection.errors:
            raise ConfigError(inspection.errors)
        await self.agree_on_layout()
        async with aclosing(self._servers()) as servers:
            async for _, client in servers:
                with translated(self.address):
                    for _, script in all_scripts():
                        await client.script_load(script)
        for partition in self.partitions if self.several_servers else self.partitions[:1]:
            await check_rights(self._client, self.address, partition.keys)
        self._durability = inspection.info.persistence
        inspection.warnings.extend(tls.warnings(self._url))
        return inspection

    async def _servers(self) -> AsyncGenerator[tuple[str, redis.asyncio.Redis]]:
        """Address and client of each server that holds a part of the data; a cluster's are closed when the next one is asked for."""
        if self._topology is None or not self.several_servers:
            yield self.address, self._client
            return
        with translated(self.address):
            await asyncio.to_thread(self._topology.find, slot_of(layout_key(self._namespace)))
        for server, slot in self._topology.servers():
            client = open_client(
                self._url, timeout_seconds=self._call_timeout_seconds, connections=1, wait_seconds=1.0, route=Route(self._topology, slot)
            )
            try:
                yield shown_address(server), self._rig.around(client, "read") if self._rig else client
            finally:
                await close(client)

    async def _inspect(self) -> Inspection:
        async with aclosing(self._servers()) as servers:
            found = [await inspect(client, address, cluster=self.several_servers) async for address, client in servers]
        inspection = weakest(found)
        if self.several_servers and len(self.partitions) == 1:
            inspection.warnings.append("PEERFLOW_PARTITIONS is 1: everything is on one server of the cluster; use about 4 × its primaries")
        return inspection

    async def agree_on_layout(self) -> None:
        """Notes this namespace's layout where there is none. Raises ConfigError where there is another one."""
        await agree_on_layout(self._client, self.address, self._namespace, len(self.partitions))

    async def close(self) -> None:
        """Closes all connections."""
        for client in (self._client, self._loops, self._inbox):
            await close(client)
        if self._topology is not None:
            await asyncio.to_thread(self._topology.close)

    async def check(self) -> ServerInfo:
        """What the server is, how far away, and what it does with writes."""
        return (await self._inspect()).info

    def observe(self, on_call: OnCall) -> None:
        """`on_call` hears of each script call from now on, in the thread that makes it; those of the heartbeat too."""
        self._on_call = on_call
        for client in (self._client, self._loops):
            observe_calls(client, on_call)

    async def queue_depths(self) -> QueueDepths:
        """How many tasks wait in which lane, and since when."""
        return await read_depths(self._client, [partition.keys for partition in self.partitions], self.address)

    def connections(self) -> dict[str, Connections]:
        """Connections of this pod by what they are for: `api`, `loops`, `inbox`. The heartbeat has one more for each partition."""
        named = (("api", self._client), ("loops", self._loops), ("inbox", self._inbox))
        return {name: told for name, client in named if (told := connections_of(client)) is not None}

    def heartbeat_connections(self, *, timeout_seconds: float) -> list[HeartbeatConnection]:
        """A connection for each partition, for the heartbeat thread."""
        connections = [
            HeartbeatConnection(
                self._url,
                partition.keys,
                self.address,
                timeout_seconds=timeout_seconds,
                route=self._topology and Route(self._topology, slot_of(partition.keys.prefix)),
                rig=self._rig,
            )
            for partition in self.partitions
        ]
        if self._on_call is not None:
            for connection in connections:
                connection.observe_calls(self._on_call)
        return connections

    def tokens(self, *, per_second: float, burst: int) -> Tokens:
        """Buckets of requests, one for each caller."""
        return Tokens(self._client, self.partitions, self.address, per_second=per_second, burst=burst)

    async def create_run(self, new: NewRun) -> Created:
        """Stores a run and makes its first tasks ready, all or nothing.

        Raises IdempotencyConflict where the tenant's key belongs to a run with another body.
        """
        packed = await asyncio.to_thread(pack, new.definition) if len(new.graph.tasks) > INLINE_TASKS else pack(new.definition)
        key = idempotency_digest(new.idempotency_key, new.tenant) if new.idempotency_key is not None else ""
        number = zlib.crc32(key.encode()) % len(self.partitions) if key else int.from_bytes(os.urandom(4)) % len(self.partitions)
        partition = self.partitions[number]
        # The id's time is for sorting ids only; everything that is decided by time is decided by the server's clock.
        run_id = new_run_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES), number, len(self.partitions))
        graph = partition.graphs.put(run_id, packed, partition.graphs.known(packed) or RunGraph(new.definition, new.graph), trace=new.trace)
        answer = await until_answered(lambda: self._create(partition, run_id, key, new, packed, graph), within_seconds=ANSWER_SECONDS)
        if answer[0] == "OK":
            self.owners.put(run_id, new.tenant)
            return Created(run_id, RunState(answer[2]), self._durability)
        if answer[0] == "EXISTS":
            return Created(answer[1], (await self.get_run(answer[1])).state, self._durability, existing=True)
        if answer[0] == "CONFLICT":
            raise IdempotencyConflict(new.idempotency_key or "", answer[1])
        raise StorageCorrupt(f"create_run answered {answer}")

    async def _create(self, partition: Partition, run_id: str, key: str, new: NewRun, packed: bytes, graph: RunGraph) -> Sequence[str]:
        definition, roots = new.definition, len(graph.graph.roots)
        prefix, parts = partition.keys.prefix, parts_of(packed) if len(packed) > PART_BYTES else []
        with translated(self.address):
            for number, part in enumerate(parts):
                await call(self._client, "stage_run", prefix, run_id, number, part, ORPHAN_MS)
            retention = definition.retention if definition.retention is not None else self.retention_seconds
            answer = await call(
                self._client, "create_run", prefix,
                run_id, new.body_digest, key, len(new.graph.tasks), int(retention * 1000), definition.on_failure, definition.priority,
                definition.name or "", json.dumps(definition.labels, ensure_ascii=False) if definition.labels else "",
                b"" if parts else packed, graph.roots(0, EDGES_PER_CALL), EDGES_PER_CALL if roots > EDGES_PER_CALL else "", len(parts),
                new.trace,
                "" if new.tenant == DEFAULT_TENANT else new.tenant, new.caller or "", self._access_entries,
            )  # fmt: skip
        if answer[0] == "UNSTAGED":
            # A failover in between has forgotten parts: from the first one again.
            raise StorageUnavailable(self.address, "the server has lost parts of the definition")
        return answer

    def read_traces(self) -> None:
        """From now on this pod reads a run's trace context together with its definition."""
        for partition in self.partitions:
            partition.reads_traces = True

    def trace_of(self, run_id: str) -> str:
        """The trace context of a run that this pod has to do with; empty where it has none, or is not known here."""
        return self.partition_for(run_id).graphs.trace_of(run_id)

    async def cancel(self, run_id: str, reason: str = "cancelled by a caller", *, caller: str | None = None) -> Cancelled:
        """Ends a run: nothing of it starts any more, no commit is accepted, running code is asked to stop. `caller` is whose wish it is.

        Cancelling twice is fine. Raises RunNotFound, or RunAlreadyFinished where the run ended first.
        """
        partition = self.partition_for(run_id)

        async def once() -> Sequence[str]:
            with translated(self.address):
                return await call(self._client, "cancel", partition.keys.prefix, run_id, reason, caller or "", self._access_entries)

        answer = await until_answered(once, within_seconds=ANSWER_SECONDS)
        if answer[0] == "UNKNOWN":
            raise RunNotFound(run_id)
        if answer[0] == "TERMINAL":
            raise RunAlreadyFinished(run_id, answer[1])
        return Cancelled(run_id, RunState(answer[1]))
