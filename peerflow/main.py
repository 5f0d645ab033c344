"""Starts a pod: the only place that wires settings, storage, scheduler and API together."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import TextIOWrapper

from fastapi import FastAPI
from pydantic import JsonValue

from engine.errors import ConfigError, StorageError
from engine.events import PodStarted, Publisher, StorageBack, StorageLost
from peerflow import __version__, logging
from peerflow.api import create_app
from peerflow.http_server import Server, config_of
from peerflow.settings import Settings
from scheduler.builtin import register_builtins
from scheduler.identity import PodOptions
from scheduler.pod import Pod
from scheduler.registry import Registry
from storage.embedded import EmbeddedValkey
from storage.repeat import until_answered
from storage.store import Store

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

EXIT_CONFIG = 2
EXIT_STORAGE = 1
EMBEDDED_CHECK_SECONDS = 1.0
"""How often a pod whose embedded server does not answer looks whether it must be started again."""
BACKLOG = 2048


def serve(settings: Settings) -> int:
    """Runs a pod until it is told to stop, and answers its exit status: 0; 2 where its settings cannot work, 1 where its data cannot."""
    writer = logging.configure(settings.log_level, settings.log_format)
    out = sys.stdout
    if isinstance(out, TextIOWrapper):
        # Line by line, into a pipe or a file too: what tasks print is seen when it happens, and not lost with a kill.
        out.reconfigure(line_buffering=True)
    tune_garbage_collector()
    embedded: EmbeddedValkey | None = None
    try:
        registry = load_registry(settings)
        listener = listen(settings.host, settings.port)
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            embedded = EmbeddedValkey.join(settings.data_dir)
            url = embedded.url
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_serve(settings, registry, url, embedded, listener))
    except ConfigError as error:
        sys.stderr.write(f"peerflow cannot start:\n{error}\n")
        return EXIT_CONFIG
    except StorageError as error:
        # The embedded server cannot start, or the data make no sense: nothing that waiting would mend.
        sys.stderr.write(f"peerflow cannot start: {error}\n")
        return EXIT_STORAGE
    finally:
        if embedded is not None:
            embedded.leave()
        writer.close()


def tune_garbage_collector() -> None:
    """Takes what is imported out of the collector's sight, and lets it look less often.

    A large definition is a million small objects without cycles: with the interpreter's thresholds, reading one takes up to three times
    as long (10,000 tasks: 236 ms against 74 ms).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(settings: Settings, registry: Registry, url: str, embedded: EmbeddedValkey | None, listener: socket.socket) -> int:
    return await Service(settings, registry, url, logging.LogPublisher(), embedded).run(listener)


def load_registry(settings: Settings) -> Registry:
    """The built-in task functions and those of the modules in the settings. Raises ConfigError with everything that is wrong."""
    registry = Registry()
    register_builtins(registry)
    registry.load_modules(settings.tasks)
    return registry


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigError where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            [f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port with --port or PEERFLOW_PORT"]
        ) from None
    return listener


class Service:
    """A pod's API and scheduler in one event loop."""

    def __init__(self, settings: Settings, registry: Registry, url: str, publisher: Publisher, embedded: EmbeddedValkey | None) -> None:
        self._settings, self._registry, self._publisher, self._embedded = settings, registry, publisher, embedded
        self._store = Store(
            url,
            namespace=settings.namespace,
            partitions=settings.partitions,
            retention_seconds=settings.retention_seconds,
            access_entries=settings.access_entries,
        )
        self._pod: Pod | None = None
        self._told_to_stop = asyncio.Event()
        self._away_since: float | None = None
        self._not_yet = f"no answer from {self._store.address} yet"
        self._problem: Exception | None = None

    async def run(self, listener: socket.socket) -> int:
        """Serves on the socket until a signal, drains, and stops. Raises what kept the pod from starting: ConfigError, StorageCorrupt."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop.set)
        app = create_app(
            self._store,
            settings=self._settings,
            readiness=self._readiness,
            function_names=self._registry.names(),
            publisher=self._publisher,
            lifespan=lambda app: self._lifespan(app, listener),
        )
        server = Server(config_of(app))
        stopping = asyncio.create_task(self._stop_when_told(server))
        try:
            await server.serve(sockets=[listener])
        finally:
            stopping.cancel()
        if self._problem is not None:
            raise self._problem
        return 0

    async def _stop_when_told(self, server: Server) -> None:
        """Readiness off, then drain while the API still answers, hand back what is left at once, then the server ends."""
        await self._told_to_stop.wait()
        server.leave()
        if self._pod is not None and self._problem is None:
            await self._pod.drain(self._settings.grace_seconds)
            await self._pod.hand_back()
        server.should_exit = True

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI, listener: socket.socket) -> AsyncGenerator[None]:
        del app
        tasks = [asyncio.create_task(self._start(listener)), asyncio.create_task(self._keep_embedded_running())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._pod is not None:
                await self._pod.stop()
            await self._store.close()

    async def _start(self, listener: socket.socket) -> None:
        try:
            await self._start_pod(listener)
        except Exception as error:  # noqa: BLE001  # `run` raises it: a pod that cannot start must not look like one that waits
            self._problem = error
            self._told_to_stop.set()

    async def _start_pod(self, listener: socket.socket) -> None:
        """Waits for storage, however long that takes, and starts the scheduler."""
        inspection = await until_answered(self._store.prepare, on_failure=self._storage_away)
        self._storage_there()
        logging.LOGGER.info("listening on http://%s:%d", *listener.getsockname()[:2])
        for warning in (*inspection.warnings, *self._settings.warnings()):
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
            verbose=settings.log_level == "debug",
        )
        pod = Pod(self._store, self._registry, self._publisher, options)
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
        if self._told_to_stop.is_set():
            return False, "the pod is draining", {}
        if self._pod is None:
            return False, self._not_yet, {}
        readiness = self._pod.readiness()
        return readiness.ready, readiness.reason, readiness.detail
