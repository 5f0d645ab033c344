"""Several pods on one machine: child processes that share one port, started again when they die, stopped and replaced together.

The supervisor binds the port once and every child accepts from that socket: one that drains, dies or freezes leaves what it has not
accepted to the others. It is on nobody's way: no request and no task goes through it. SIGTERM and SIGINT drain all children at once, a
second one kills them; SIGHUP replaces them one by one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Literal, Self

from peerflow.cli.orphans import reap_orphans
from peerflow.cli.pod_child import News, PodChild, Sink, whole_lines
from peerflow.cli.pod_environment import child_environment
from peerflow.cli.restarts import Restarts
from peerflow.listener import listen
from peerflow.settings import Settings

# Beyond the grace period: what a pod needs to hand back its tasks and close its connections.
STOP_MARGIN_SECONDS: Final = 5.0
SAME_SIGNAL_SECONDS: Final = 0.5
"""A signal that follows so soon is the first one again: some senders reach a process and its whole group."""
EXIT_FAILED: Final = 1

Message = News | tuple[Literal["signal"], int]


class PodProcesses:
    """`count` pods on `settings.port`; leaving the context stops those that are left.

    `say` gets the supervisor's own words, with True where something is wrong; `write` gets the pods' output line by line, and without it
    each line goes to this process's own stream of the same name.
    """

    def __init__(self, settings: Settings, count: int, *, say: Callable[[str, bool], None], write: Sink | None = None) -> None:
        self._settings, self._count, self._say = settings, count, say
        self._out = write or whole_lines(sys.stdout.buffer)
        self._err = write or whole_lines(sys.stderr.buffer)
        self._environment = child_environment(settings, count, terminal=write is None and sys.stderr.isatty())
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._children: dict[int, PodChild] = {}
        """By number; those that have ended are taken out."""
        self._started = 0
        self._restarts = Restarts(time.monotonic)
        self._stopping = False
        self._killed = False
        self._told_at = 0.0
        self._status = 0
        self._to_replace: deque[int] = deque()
        self._replacing: tuple[int, int] | None = None
        """The child that is to go, and the one that is to take its place once it is ready."""
        self._listener: socket.socket | None = None
        self._folder = Path()

    def __enter__(self) -> Self:
        self._listener = listen(self._settings.host, self._settings.port)
        self._folder = Path(tempfile.mkdtemp(prefix="peerflow-"))
        try:
            for _ in range(self._count):
                self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def alive(self) -> int:
        return sum(child.alive for child in self._children.values())

    @property
    def address(self) -> str:
        """Of the shared port, as the log has it."""
        host, port = self._listener.getsockname()[:2] if self._listener else (self._settings.host, self._settings.port)
        return f"http://{host}:{port}"

    @contextmanager
    def heeding_signals(self) -> Generator[None]:
        """SIGTERM and SIGINT stop the pods from the next turn of `wait` on; SIGHUP replaces them, unless a terminal may send it."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, *([] if os.isatty(0) else [signal.SIGHUP])]
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def wait(self) -> int:
        """Blocks until no pod is left and returns the exit status: 0 where they ended as they were asked to."""
        with self.heeding_signals():
            while self._children or not self._stopping:
                try:
                    message = self._messages.get(timeout=self._restarts.seconds_to_next())
                except Empty:
                    self._start_due()
                    continue
                self._heed(message)
                reap_orphans({child.process.pid for child in self._children.values()})
        return self._status

    def close(self) -> None:
        """Stops the pods that are left: SIGTERM, the grace period, then SIGKILL."""
        self._stopping = True
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_seconds + STOP_MARGIN_SECONDS
        for child in self._children.values():
            child.close(max(0.0, deadline - time.monotonic()))
            self._tell_reason(child)
        self._let_go()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _heed(self, message: Message) -> None:
        match message:
            case ("signal", signal.SIGCHLD):
                return
            case ("signal", signal.SIGHUP):
                self._replace_all()
            case ("signal", _):
                self._stop()
            case ("ready", number):
                self._on_ready(number)
            case ("ended", number):
                self._on_end(self._children.pop(number))

    def _start(self) -> PodChild:
        assert self._listener is not None
        self._started += 1
        child = PodChild(
            self._started, self._listener, self._folder, self._environment, out=self._out, err=self._err, tell=self._messages.put
        )
        self._children[child.number] = child
        return child

    def _start_due(self) -> None:
        for _ in range(self._restarts.take_due()):
            if not self._stopping:
                self._start()

    def _stop(self) -> None:
        """Drains all; the second time, kills them, which loses nothing that is stored."""
        again, self._stopping = self._stopping, True
        now = time.monotonic()
        if again and now - self._told_at < SAME_SIGNAL_SECONDS:
            return
        self._told_at = now
        self._killed |= again
        self._restarts.clear()
        self._send(signal.SIGKILL if again else signal.SIGTERM)
        # What arrives from now on is the children's: the last one to close the socket answers what has reached it.
        self._let_go()
        left = len(self._children)
        self._say("killing the pods" if again else f"stopping {left} pod{'s' * (left != 1)}; once more kills them", False)

    def _on_ready(self, number: int) -> None:
        self._restarts.succeeded()
        if self._replacing is not None and self._replacing[1] == number and not self._stopping:
            old = self._children.get(self._replacing[0])
            if old is None:
                self._replace_next()
            else:
                old.leaving = True
                # Not SIGTERM: others go on serving the port, and this one must not take a connection that it would only close.
                old.send(signal.SIGHUP)

    def _on_end(self, child: PodChild) -> None:
        went_as_told = child.process.returncode in {0, -signal.SIGTERM, -signal.SIGHUP} or self._killed
        expected = went_as_told if self._stopping else child.leaving
        self._tell_reason(child)
        if not expected and not (child.reason and self._stopping):
            left = len(self._children)
            goes_on = f"; {left} go{'es' * (left == 1)} on" if left else ""
            self._say(f"pod {child.number} has ended ({child.how()}){goes_on}", True)
        if self._stopping:
            self._status = self._status or (0 if expected or not child.process.returncode else EXIT_FAILED)
        elif self._replacing is not None and child.number in self._replacing:
            self._on_end_while_replacing(child)
        elif not child.leaving:
            self._after_death(child)

    def _after_death(self, child: PodChild) -> None:
        hopeless = bool(child.reason) and not self._restarts.any_succeeded
        if hopeless or (not child.ready and self._restarts.failed()):
            self._status = child.process.returncode if child.reason else EXIT_FAILED
            if not hopeless:
                self._say(f"pods cannot be started: {self._restarts.failures} times in a row one ended before it was ready", True)
            self._stop()
            return
        seconds = self._restarts.add()
        self._say(f"another pod starts in {seconds:g} s", False)

    def _replace_all(self) -> None:
        if self._stopping:
            return
        self._to_replace = deque(number for number, child in self._children.items() if not child.leaving)
        self._say(f"replacing {len(self._to_replace)} pods, one by one", False)
        if self._replacing is None:
            self._replace_next()

    def _replace_next(self) -> None:
        self._replacing = None
        while self._to_replace:
            number = self._to_replace.popleft()
            if number in self._children:
                self._replacing = (number, self._start().number)
                return
        self._say("all pods are replaced", False)

    def _on_end_while_replacing(self, child: PodChild) -> None:
        assert self._replacing is not None
        old, new = self._replacing
        if child.number == new and not child.ready:
            self._replacing = None
            self._to_replace.clear()
            self._say("the new pod cannot start: no other pod is replaced", True)
            if old not in self._children:
                self._after_death(child)
        elif child.number == new:
            self._replacing = None
            self._to_replace.clear()
            self._after_death(child)
        elif new in self._children and self._children[new].ready:
            self._replace_next()

    def _tell_reason(self, child: PodChild) -> None:
        """Once for all children that say the same."""
        if child.reason and self._restarts.is_news(child.reason):
            self._err(child.reason if child.reason.endswith(b"\n") else child.reason + b"\n")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        # A SimpleQueue may be put to from a signal handler; anything else waits for the loop.
        self._messages.put(("signal", number))

    def _send(self, number: signal.Signals) -> None:
        for child in self._children.values():
            child.send(number)

    def _let_go(self) -> None:
        if self._listener is not None:
            self._listener.close()
