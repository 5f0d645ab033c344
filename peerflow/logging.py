"""The one file that owns log lines: which event is written, at which level, in which words.

Code publishes the typed events of `engine/events.py`; `LogPublisher` turns them into records of the logger `peerflow`. `configure` sends
these, uvicorn's and the users' own records through one handler to one stream.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TextIO

from engine import events
from engine.events import Event
from peerflow.auth import events as auth_events
from peerflow.log_format import JsonFormatter, TextFormatter
from peerflow.log_writer import LogWriter

LOGGER: Final = logging.getLogger("peerflow")
NOTSET, DEBUG, INFO, WARNING, ERROR = logging.NOTSET, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

QUIET: Final = ("asyncio", "httpcore", "httpx", "uvicorn.access", "uvicorn.error")
"""Loggers that write a line for each request, poll or step of the start; below a warning they are heard only at level debug."""

_RENAMED: Final = {"task_id": "task", "duration_seconds": "duration_ms"}
_WORD_START: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """An HTTP request met an error that nobody foresaw, and was answered with status 500."""

    method: str
    path: str
    error: BaseException
    error_id: str
    """Stands in the answer too, so that the two can be brought together."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallerRefused(Event):
    """A caller asked for what its scopes do not allow, and was answered with status 403."""

    caller: str
    tenant: str
    method: str
    path: str
    scope: str
    """What it would have taken."""


# The words for each event. What the fields say already is not repeated: every field of the event is on the line.
_WORDS: Final[dict[type[Event], tuple[int, Callable[[Any], str]]]] = {
    events.PodStarted: (INFO, lambda _: "pod started"),
    events.PodDraining: (INFO, lambda e: f"draining: {e.running} attempts may finish within {e.grace_seconds:g} s"),
    events.PodStopped: (INFO, lambda _: "pod stopped"),
    events.RunCreated: (INFO, lambda _: "run created"),
    events.RunFinished: (INFO, lambda e: f"run {e.state}"),
    events.RunCancelled: (INFO, lambda _: "run cancelled"),
    events.TaskClaimed: (DEBUG, lambda _: "task claimed"),
    events.AttemptFinished: (DEBUG, lambda e: f"attempt {e.outcome}"),
    events.RetryScheduled: (INFO, lambda e: f"attempt {e.attempt} failed, the next one comes in {e.delay_seconds:g} s"),
    events.CommitRefused: (WARNING, lambda _: "a result was dropped: the task is no longer this pod's"),
    events.LeaseLost: (WARNING, lambda _: "lease lost: the attempt is stopped"),
    events.TasksReaped: (WARNING, lambda e: f"took over the tasks of silent pods: {e.requeued} again, {e.failed} failed"),
    events.LimboRepaired: (WARNING, lambda e: f"a run could not go on: {e.repairs} things that Redis had lost of it were put back"),
    events.ClaimsReleased: (INFO, lambda e: f"{e.count} claims given back: {e.reason}"),
    events.StorageLost: (ERROR, lambda e: f"cannot reach {e.address}; trying until it answers"),
    events.StorageBack: (INFO, lambda e: f"{e.address} answers again"),
    events.HeartbeatLate: (WARNING, lambda _: "a heartbeat took dangerously long: Redis, the network or this machine is too slow"),
    events.LoopFailed: (ERROR, lambda e: f"the {e.loop} loop failed and goes on: {e.error}"),
    auth_events.KeysRead: (INFO, lambda e: f"API keys read again: {e.keys}"),
    auth_events.KeysRefused: (ERROR, lambda _: "the file of API keys cannot be used; the keys from before stay in force"),
    auth_events.IssuerLost: (
        ERROR,
        lambda _: "the keys of the tokens' issuer cannot be fetched; those that are known stay in force for a day",
    ),
    auth_events.IssuerBack: (INFO, lambda _: "the keys of the tokens' issuer are there again"),
    CallerRefused: (WARNING, lambda e: f"{e.caller} may not {e.method} {e.path}: it takes the scope {e.scope}"),
    RequestFailed: (ERROR, lambda e: f"{e.method} {e.path} failed: {type(e.error).__name__}: {e.error}"),
}


class LogPublisher:
    """Writes each published event as one line. Called from any thread; neither blocks nor raises."""

    def publish(self, event: Event, /) -> None:
        if isinstance(event, events.PodStarted):
            name_pod(event.pod_id)
        level, words = _WORDS.get(type(event), (INFO, _name))
        if isinstance(event, events.AttemptFinished) and event.outcome == "failed":
            level = WARNING
        if LOGGER.isEnabledFor(level):
            error = event.error if isinstance(event, RequestFailed) else None
            LOGGER.log(level, "%s", words(event), extra=_fields(event), exc_info=error)


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "text"] = "auto",
    *,
    stream: TextIO | None = None,
    one_of_several: bool = False,
    task_level: int | None = None,
) -> LogWriter:
    """Sends all records of this process to the stream (stderr). The caller closes what it gets, last of all.

    `one_of_several`: other pods write to the same stream, so that lines for people name their pod too. `task_level` is the least level that
    another handler takes from tasks: below `level`, such records are made and not written here.

    uvicorn is started with `log_config=None`, so that its records come here too.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    writer = LogWriter(out)
    if form == "text" or (form == "auto" and terminal):
        writer.setFormatter(TextFormatter(colour=terminal and not os.environ.get("NO_COLOR"), names_pod=one_of_several))
    else:
        writer.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LogWriter):
            root.removeHandler(handler)
            handler.close()
    root.addHandler(writer)
    chosen = logging.getLevelNamesMapping()[level.upper()]
    writer.setLevel(chosen)
    least = chosen if task_level is None else min(chosen, task_level)
    root.setLevel(least)
    # The pod's own events are for the writer alone: none is made that it would not write.
    LOGGER.setLevel(chosen if least < chosen else NOTSET)
    logging.getLogger("peerflow.task").setLevel(least if least < chosen else NOTSET)
    for name in QUIET:
        logging.getLogger(name).setLevel(chosen if chosen == DEBUG else max(chosen, WARNING))
    return writer


def name_pod(pod_id: str) -> None:
    """From now on the lines of this process name the pod; a pod has no id until it has started."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter | TextFormatter):
            handler.formatter.pod_id = pod_id


def _name(event: Event) -> str:
    return _WORD_START.sub("_", type(event).__name__).lower()


def _fields(event: Event) -> dict[str, object]:
    """The event's name and fields as the line shows them: `task`, and milliseconds."""
    found: dict[str, object] = {"event": _name(event)}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, BaseException):
            continue
        if field.name == "duration_seconds":
            value = round(value * 1000, 3)
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
        # A LogRecord has a `name` of its own, the logger's.
        found["run_name" if field.name == "name" else _RENAMED.get(field.name, field.name)] = value
    return found
