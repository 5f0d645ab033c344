"""A child process of a pod: runs one process function at a time, until its pod ends it, or ends.

Started as `python -m scheduler.child REQUESTS REPLIES`, two inherited file descriptors. Standard output and error stay for what the
user's code prints. It leads a process group of its own, so that a kill takes along what the user's code has started.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import signal
import sys
import threading
import time
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from engine.errors import TaskNotRegistered
from engine.outcome import Outcome
from scheduler.calls import call_blocking
from scheduler.child_lines import PipedLines
from scheduler.context import TaskContext
from scheduler.effect_pipe import PipedEffects
from scheduler.failures import failed_in_user_code
from scheduler.registry import TaskFunction, default_registry
from scheduler.task_output import captured
from scheduler.tracing import enter_child
from scheduler.wire import Unpacker, outcome_to_wire, pack

READ_BYTES = 64 * 1024


class Replies:
    """The way back to the pod. Messages from several threads stay whole."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        data = memoryview(pack(message))
        with self._lock:
            while data:
                data = data[os.write(self._fd, data) :]


class Beats:
    """What `ctx.heartbeat()` does here. Neither blocks for long nor raises."""

    def __init__(self, replies: Replies, claim_id: str, seconds: float) -> None:
        """At most one sign of life in `seconds` goes to the pod: a tight loop may call `ctx.heartbeat()` as often as it likes."""
        self._replies = replies
        self._claim_id = claim_id
        self._seconds = seconds
        self._next = 0.0

    def __call__(self, progress: object) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._seconds
        try:
            self._replies.send({"op": "beat", "claim_id": self._claim_id, "progress": progress})
        except (TypeError, ValueError, RecursionError):
            self._replies.send({"op": "beat", "claim_id": self._claim_id, "progress": None})


def main(requests_fd: int, replies_fd: int) -> NoReturn:
    """Serves requests for ever: the process ends by a signal, or when its pod has closed the other end."""
    for fd in (requests_fd, replies_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003  # what the user's code starts must not hold the pipes open
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C and an orderly stop of a whole group reach us too; the pod decides whether the attempt may end in its grace period.
        # A handler that does nothing, and not SIG_IGN, which the user's own subprocesses would inherit.
        signal.signal(number, _ignore)
    requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
    replies = Replies(replies_fd)
    effects = PipedEffects(replies.send)
    threading.Thread(target=_read, args=(requests_fd, requests, effects), name="peerflow-pod-watcher", daemon=True).start()
    hello = requests.get()
    _begin_output(hello["log_level"])
    lines = None if hello["task_log_level"] is None else PipedLines(replies.send)
    with captured(hello["task_log_level"]):
        _prepare(hello)
        replies.send({"op": "ready"})
        _serve(requests, replies, effects, lines)


def _serve(requests: SimpleQueue[dict[str, Any]], replies: Replies, effects: PipedEffects, lines: PipedLines | None) -> NoReturn:
    own_pid = os.getpid()
    while True:
        request = requests.get()
        if lines is not None:
            lines.begin(request["claim_id"])
        outcome = _run(request, replies, effects, lines)
        if os.getpid() != own_pid:
            os._exit(0)  # the user's code forked and let the copy return: only one of them may answer
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the user's code may have closed or replaced it
                stream.flush()
        if lines is not None:
            lines.finish()
        replies.send({"op": "done", "claim_id": request["claim_id"], "outcome": outcome_to_wire(outcome)})


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame


def _read(fd: int, requests: SimpleQueue[dict[str, Any]], effects: PipedEffects) -> None:
    """Feeds the main thread, and code that waits for an effect's answer.

    The end of the pipe is the end of the pod: then this process and all it has started must not live on.
    """
    unpacker = Unpacker()
    try:
        while data := os.read(fd, READ_BYTES):
            for message in unpacker.feed(data):
                if message["op"] == "effect":
                    effects.answered(message)
                else:
                    requests.put(message)
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)


def _begin_output(log_level: int) -> None:
    # Line by line: nothing that was printed is lost with a kill, and lines of several processes do not mix.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(stream=sys.stderr, level=log_level)


def _prepare(hello: dict[str, Any]) -> None:
    """Makes this process like its pod: where modules are found, what the environment says; and imports the tasks' modules."""
    sys.path[:] = hello["path"]
    for name, value in hello["environ"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for module in hello["modules"]:
        with contextlib.suppress(BaseException):  # it is imported again, and its error reported, with the first attempt that needs it
            importlib.import_module(module)


def _run(request: dict[str, Any], replies: Replies, effects: PipedEffects, lines: PipedLines | None) -> Outcome:
    claim_id = request["claim_id"]
    effects.result_bytes = request["result_bytes"]
    beats = Beats(replies, claim_id, request["beat_seconds"])
    headers = request["context"].get("headers")
    context = TaskContext(
        **request["context"],
        claim_id=claim_id,
        on_heartbeat=beats,
        effects=effects,
        on_enter=functools.partial(enter_child, headers) if headers else None,
        lines=lines,
    )
    try:
        function = _find(**request["function"])
    except BaseException as error:  # noqa: BLE001  # a module of tasks may raise anything while it is imported
        return failed_in_user_code(error)
    return call_blocking(function, request["args"], context, request["result_bytes"])


def _find(name: str, module: str, qualname: str) -> TaskFunction:
    """The function as its module registered it; failing that (a registry of the pod's own) as the module holds it."""
    found: Any = importlib.import_module(module)
    function = default_registry.get(name)
    if function is not None and (function.module, function.qualname) == (module, qualname):
        return function
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise TaskNotRegistered(name)
    return TaskFunction(found, name=name, executor="process")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
