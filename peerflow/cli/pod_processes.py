"""Pods as child processes, one port each: started together, stopped together, each free to die alone.

A pod that dies is not started again: the others take its tasks, which is what one wants to see on one machine. Children have a
process group of their own, so that a Ctrl-C reaches them once, through their parent; they stop when the parent is gone, however it
went, because their standard input is a pipe from it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from types import FrameType
from typing import IO, Literal, Self

from engine.errors import ConfigError
from peerflow.cli import credentials
from peerflow.settings import Settings
from peerflow.settings_source import variable

# Beyond the grace period: what a pod needs to hand back its tasks and close its connections.
STOP_MARGIN_SECONDS = 5.0

Message = tuple[Literal["ended"], int] | tuple[Literal["signal"], int]


def stop_with_parent() -> None:
    """Sends this process SIGTERM once its standard input ends; for a pod that a parent has started."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stop-with-parent", daemon=True).start()


def check_ports(host: str, ports: list[int]) -> None:
    """Raises ConfigError naming each port that cannot be listened on; port 0 always can."""
    problems: list[str] = []
    for port in [port for port in ports if port]:
        if port > 65_535:
            problems.append(f"--port {ports[0]} with --pods {len(ports)} needs ports up to {ports[-1]}; the last one is 65535")
            break
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on: {error.strerror or error}"
            problems.append(f"port {port} of {host} {reason}; choose another with --port")
    if problems:
        raise ConfigError(problems)


class PodProcesses:
    """`count` pods on `settings.port` and the ports after it; leaving the context stops those that are left.

    `write` gets the pods' output line by line; without it they write to this process's own streams.
    """

    def __init__(self, settings: Settings, count: int, *, say: Callable[[str], None], write: Callable[[str], object] | None = None) -> None:
        self.ports = [settings.port + index if settings.port else 0 for index in range(count)]
        self._grace_seconds = settings.grace_seconds
        self._say = say
        self._write = write
        self._environment = child_environment(settings)
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._children: dict[int, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self._host = settings.host
        self._killed = False
        self._bad_endings = 0

    def __enter__(self) -> Self:
        check_ports(self._host, self.ports)
        try:
            for index, port in enumerate(self.ports):
                self._start(index, port)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def alive(self) -> int:
        return sum(child.poll() is None for child in self._children.values())

    def wait(self) -> int:
        """Blocks until no pod is left and returns the exit status: 0 where all ended as they were asked to.

        SIGINT and SIGTERM ask them to stop; a second one kills them, which loses nothing that is stored.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        left = set(self._children)
        stopping = False
        try:
            while left:
                what, value = self._messages.get()
                if what == "signal":
                    self._say("killing the pods" if stopping else f"stopping {len(left)} pod{'s' * (len(left) > 1)}; once more kills them")
                    self._send(signal.SIGKILL if stopping else signal.SIGTERM)
                    stopping = True
                else:
                    left.discard(value)
                    self._account(value, len(left), stopping=stopping)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return 1 if self._bad_endings else 0

    def close(self) -> None:
        """Stops the pods that are left: SIGTERM, the grace period, then SIGKILL."""
        self._send(signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(self._grace_seconds + STOP_MARGIN_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()
        for thread in self._threads:
            thread.join(1.0)

    def _start(self, index: int, port: int) -> None:
        child = subprocess.Popen(
            [sys.executable, "-m", "peerflow.cli", "serve", "--port", str(port), "--stop-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self._write else None,
            stderr=subprocess.STDOUT if self._write else None,
            env=self._environment,
            process_group=0,
            text=True,
            errors="replace",
        )
        self._children[index] = child
        self._thread(self._report_end, index, child)
        if self._write is not None and child.stdout is not None:
            self._thread(self._pass_on, child.stdout, self._write)

    def _thread(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _report_end(self, index: int, child: subprocess.Popen[str]) -> None:
        child.wait()
        self._messages.put(("ended", index))

    @staticmethod
    def _pass_on(lines: IO[str], write: Callable[[str], object]) -> None:
        with lines:
            for line in lines:
                write(line)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        # A SimpleQueue may be put to from a signal handler; anything else waits for the loop.
        self._messages.put(("signal", number))

    def _send(self, number: signal.Signals) -> None:
        self._killed |= number == signal.SIGKILL
        for child in self._children.values():
            child.send_signal(number)

    def _account(self, index: int, left: int, *, stopping: bool) -> None:
        status = self._children[index].returncode
        expected = stopping and (status in {0, -signal.SIGTERM} or self._killed)
        if not expected:
            self._bad_endings += status != 0
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            goes_on = f"; {left} go{'es' * (left == 1)} on" if left else ""
            self._say(f"the pod on port {self.ports[index]} has ended ({how}){goes_on}")


def child_environment(settings: Settings) -> Mapping[str, str]:
    """This environment with what the command line set; secrets go this way because a command line is for all to read."""
    environment = dict(os.environ)
    # The caller's own key is not for the pods, whose task code reads the environment.
    for name in (credentials.VARIABLE, credentials.FILE_VARIABLE):
        environment.pop(name, None)
    if settings.redis_url is not None:
        environment["PEERFLOW_REDIS_URL"] = settings.redis_url.get_secret_value()
    if settings.tasks:
        environment["PEERFLOW_TASKS"] = ",".join(settings.tasks)
    for field in ("concurrency", "host", "log_format", "log_level"):
        environment[variable(field)] = str(getattr(settings, field))
    return environment
