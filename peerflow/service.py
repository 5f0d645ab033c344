"""One pod: its API and its scheduler in one event loop. The only place that wires settings, storage, scheduler and API together."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from pydantic import JsonValue

from engine.errors import StorageError
from engine.events import PodStarted, Publisher, Publishers, StorageBack, StorageLost
from peerflow import __version__, logging
from peerflow.api import create_app
from peerflow.api.authenticator import authenticator
from peerflow.api.callers import anybody
from peerflow.auth.access import Access
from peerflow.http_server import Server, config_of
from peerflow.listener import Place
from peerflow.log_writer import LogWriter
from peerflow.metrics_wiring import count
from peerflow.settings import Settings
from peerflow.sibling_metrics import of_all
from scheduler.identity import PodOptions
from scheduler.pod import Pod
from scheduler.registry import Registry
from storage.embedded import EmbeddedValkey
from storage.repeat import until_answered
from storage.store import Store
from storage.task_logs import LogCaps

if TYPE_CHECKING:
    from peerflow.tracing.service import Tracing

EMBEDDED_CHECK_SECONDS = 1.0
"""How often a pod whose embedded server does not answer looks whether it must be started again."""


def start_tracing(store: Store) -> Tracing:
    """Raises ConfigError where the extra is not installed."""
    # Only here: a pod that does not trace imports nothing of OpenTelemetry, and may not have it.
    from peerflow.tracing import check_installed  # noqa: PLC0415

    check_installed()
    from peerflow.tracing.service import Tracing  # noqa: PLC0415

    return Tracing(__version__, store.trace_of)


class Service:
    """A pod's API and scheduler in one event loop."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        url: str,
        publisher: Publisher,
        embedded: EmbeddedValkey | None,
        *,
        access: Access | None = None,
        log: LogWriter | None = None,
        place: Place | None = None,
    ) -> None:
        """`log` tells how many lines it has dropped."""
        self._settings, self._registry, self._publisher, self._embedded = settings, registry, publisher, embedded
        self._access, self._place = access, place
        self._others_serve = False
        self._warnings: list[JsonValue] = [*settings.warnings()]
        self._store = Store(
            url,
            namespace=settings.namespace,
            partitions=settings.partitions,
            retention_seconds=settings.retention_seconds,
            access_entries=settings.access_entries,
        )
        self._pod: Pod | None = None
        self._metrics = count(settings, self._store, self._readiness, lambda: self._pod, log) if settings.metrics else None
        self._tracing = start_tracing(self._store) if settings.traces else None
        subscribers = [*([self._metrics.tally] if self._metrics else []), *([self._tracing.attempts] if self._tracing else [])]
        if subscribers:
            self._publisher = Publishers(publisher, *subscribers)
        self._app: FastAPI | None = None
        self._told_to_stop = asyncio.Event()
        self._away_since: float | None = None
        self._not_yet = f"no answer from {self._store.address} yet"
        self._problem: Exception | None = None

    async def run(self, listener: socket.socket) -> int:
        """Serves on the socket until a signal, drains, and stops. Raises what kept the pod from starting: ConfigError, StorageCorrupt."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop.set)
        if self._place is not None:
            loop.add_signal_handler(signal.SIGHUP, self._leave_to_others)
        app = self._app = create_app(
            self._store,
            settings=self._settings,
            readiness=self._readiness,
            function_names=self._registry.names(),
            publisher=self._publisher,
            authenticate=anybody if self._access is None else authenticator(self._access),
            scrape=self._metrics.scrape if self._metrics else None,
            scrape_all=of_all(self._place, self._metrics.scrape) if self._metrics and self._place else None,
            on_request=self._metrics.tally.request_ended if self._metrics else None,
            begin_run_trace=None if self._tracing is None else self._tracing.begin_run,
            lifespan=lambda app: self._lifespan(app, listener),
        )
        if self._tracing is not None:
            self._tracing.install(app)
        config = config_of(app)
        server = Server(config) if self._place is None else Server(config, shared=listener)
        own = listener if self._place is None else self._place.listen_alone()
        stopping = asyncio.create_task(self._stop_when_told(server))
        try:
            await server.serve(sockets=[own])
        finally:
            stopping.cancel()
        if self._problem is not None:
            raise self._problem
        return 0

    def _leave_to_others(self) -> None:
        """Told by the supervisor: as SIGTERM, but other pods go on serving the shared port."""
        self._others_serve = True
        self._told_to_stop.set()

    async def _stop_when_told(self, server: Server) -> None:
        """Readiness off, then drain while the API still answers, hand back what is left at once, then the server ends."""
        await self._told_to_stop.wait()
        if self._others_serve:
            server.leave_to_others()
        else:
            server.leave()
        if self._pod is not None and self._problem is None:
            await self._pod.drain(self._settings.grace_seconds)
            await self._pod.hand_back()
        if self._app is not None:
            self._app.state.api.followers.close()
        server.should_exit = True

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI, listener: socket.socket) -> AsyncGenerator[None]:
        del app
        tasks = [asyncio.create_task(self._start(listener)), asyncio.create_task(self._keep_embedded_running())]
        if self._access is not None:
            tasks.append(asyncio.create_task(self._access.run(self._publisher)))
        if self._metrics is not None:
            tasks.append(asyncio.create_task(self._metrics.loop_lag().run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._pod is not None:
                await self._pod.stop()
            if self._metrics is not None:
                await self._metrics.close()
            await self._store.close()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)

    async def _start(self, listener: socket.socket) -> None:
        try:
            await self._start_pod(listener)
        except Exception as error:  # noqa: BLE001  # `run` raises it: a pod that cannot start must not look like one that waits
            self._problem = error
            self._told_to_stop.set()

    async def _start_pod(self, listener: socket.socket) -> None:
        """Waits for storage, however long that takes, and starts the scheduler."""
        for warning in self._warnings:
            # Before Redis answers: the port is open already.
            logging.LOGGER.warning("%s", warning)
        inspection = await until_answered(self._store.prepare, on_failure=self._storage_away)
        self._storage_there()
        logging.LOGGER.info("listening on http://%s:%d", *listener.getsockname()[:2])
        for warning in inspection.warnings:
            logging.LOGGER.warning("%s", warning)
        settings = self._settings
        options = PodOptions(
            concurrency=settings.concurrency,
            queues=settings.queues,
            lease_ttl_seconds=settings.lease_ttl_seconds,
            audit_after_seconds=settings.audit_after_seconds,
            processes=settings.processes,
            result_bytes=settings.limit_result_bytes,
            version=__version__,
            log_caps=LogCaps(settings.task_log_lines, settings.task_log_bytes, settings.task_log_run_bytes),
            verbose=settings.log_level == "debug",
        )
        observer = self._metrics.tally if self._metrics else None
        tracer = None if self._tracing is None else self._tracing.attempts
        pod = Pod(self._store, self._registry, self._publisher, options, observer=observer, tracer=tracer)
        if tracer is not None:
            tracer.pod_id = pod.who.pod_id
        await pod.start()
        self._pod = pod
        self._publisher.publish(
            PodStarted(
                pod_id=pod.who.pod_id,
                address=self._store.address,
                concurrency=settings.concurrency,
                queues=settings.queues,
                functions=tuple(self._registry.names()),
                version=__version__,
            )
        )

    async def _keep_embedded_running(self) -> None:
        """Starts the embedded server again when it died by itself; its append-only file has every acknowledged write."""
        while self._embedded is not None:
            await asyncio.sleep(EMBEDDED_CHECK_SECONDS)
            if self._pod is None or self._pod.storage_fails:
                try:
                    await asyncio.to_thread(self._embedded.ensure_running)
                except StorageError as error:
                    self._storage_away(error)

    def _storage_away(self, error: StorageError) -> None:
        self._not_yet = f"storage cannot be used yet: {error}"
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
            self._publisher.publish(StorageLost(pod_id="", address=self._store.address, error=str(error)))

    def _storage_there(self) -> None:
        if self._away_since is not None:
            away = asyncio.get_running_loop().time() - self._away_since
            self._publisher.publish(StorageBack(pod_id="", address=self._store.address, duration_seconds=away))

    def _readiness(self) -> tuple[bool, str, dict[str, JsonValue]]:
        ready, reason, detail = self._state()
        return ready, reason, {**detail, "warnings": self._warnings} if self._warnings else detail

    def _state(self) -> tuple[bool, str, dict[str, JsonValue]]:
        if self._told_to_stop.is_set():
            return False, "the pod is draining", {}
        if self._pod is None:
            return False, self._not_yet, {}
        readiness = self._pod.readiness()
        return readiness.ready, readiness.reason, readiness.detail
