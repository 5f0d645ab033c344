"""The program of a pod: what it needs of its machine, and its exit status. What a pod is made of, `peerflow.service` puts together."""

from __future__ import annotations

import asyncio
import gc
import sys
from io import TextIOWrapper

from engine.errors import ConfigError, StorageError
from peerflow import logging
from peerflow.auth.access import open_access
from peerflow.listener import Place, listen
from peerflow.log_writer import LogWriter
from peerflow.service import Service
from peerflow.settings import Settings
from scheduler.builtin import register_builtins
from scheduler.registry import Registry
from scheduler.task_output import TaskFields, captured
from storage.embedded import EmbeddedValkey

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

EXIT_CONFIG = 2
EXIT_STORAGE = 1


def serve(settings: Settings, place: Place | None = None) -> int:
    """Runs a pod until it is told to stop, and answers its exit status: 0; 2 where its settings cannot work, 1 where its data cannot.

    With a place the pod is one of several that share a port; else it has a port of its own.
    """
    several = place is not None
    writer = logging.configure(settings.log_level, settings.log_format, one_of_several=several, task_level=settings.task_log_number)
    writer.addFilter(TaskFields())
    out = sys.stdout
    if isinstance(out, TextIOWrapper):
        # Line by line, into a pipe or a file too: what tasks print is seen when it happens, and not lost with a kill.
        out.reconfigure(line_buffering=True)
    with captured(settings.task_log_number):
        return _serve_here(settings, writer, place)


def _serve_here(settings: Settings, writer: LogWriter, place: Place | None) -> int:
    tune_garbage_collector()
    embedded: EmbeddedValkey | None = None
    try:
        registry = load_registry(settings)
        publisher = logging.LogPublisher()
        access = open_access(settings, publisher)
        listener = listen(settings.host, settings.port) if place is None else place.shared()
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            embedded = EmbeddedValkey.join(settings.data_dir)
            url = embedded.url

        async def run() -> int:
            # Made in the loop that it runs in.
            return await Service(settings, registry, url, publisher, embedded, access=access, log=writer, place=place).run(listener)

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(run())
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


def load_registry(settings: Settings) -> Registry:
    """The built-in task functions and those of the modules in the settings. Raises ConfigError with everything that is wrong."""
    registry = Registry()
    register_builtins(registry)
    registry.load_modules(settings.tasks)
    return registry
