"""One pod as a child process: started, watched until it is ready and until it ends, its output passed on line by line.

Children have a process group of their own, so that a Ctrl-C reaches them once, through their parent; they stop when the parent is gone,
however it went, because their standard input is a pipe from it.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Literal

from peerflow.unix_http import UnixConnection

LOOK_SECONDS: Final = 0.1
"""Between two looks at a pod that is not ready yet; a second once it has taken long, as it does without Redis."""
LONG_START_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 2.0
LINE_BYTES: Final = 1024 * 1024
"""A longer line is passed on in parts."""
CANNOT_START: Final = b"peerflow cannot start"
"""How a pod begins to say what no restart would mend (`peerflow.main.serve`)."""

News = tuple[Literal["ready", "ended"], int]
Sink = Callable[[bytes], object]
"""Takes one whole line; called from several threads."""


def stop_with_parent() -> None:
    """Sends this process SIGTERM once its standard input ends; for a pod that a parent has started."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stop-with-parent", daemon=True).start()


class PodChild:
    """A pod on the shared listener and a private socket of its own. Its threads call `tell`: once it is ready, and when it has ended."""

    def __init__(
        self,
        number: int,
        listener: socket.socket,
        folder: Path,
        environment: Mapping[str, str],
        *,
        out: Sink,
        err: Sink,
        tell: Callable[[News], object],
    ) -> None:
        self.number = number
        """Counts the supervisor's children from 1; never used twice."""
        self.private_socket = folder / f"{number}.sock"
        self.ready = False
        """True once it has been ready; stays so. Written by its own thread only."""
        self.leaving = False
        """True once the supervisor has told it to go. Written by the supervisor only."""
        self.reason = b""
        """What it said when it could not start: lines that are not passed on, since each of its siblings says the same."""
        self._tell = tell
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "peerflow.cli", "serve", "--stop-with-parent"),
                *("--listener", str(listener.fileno()), "--private-socket", str(self.private_socket)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=0,
            pass_fds=(listener.fileno(),),
        )
        readers = [self._thread(self._pass_on, self.process.stdout, out), self._thread(self._pass_on, self.process.stderr, err)]
        self._thread(self._watch, readers)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self, within_seconds: float) -> None:
        """Waits for the end of a child that was told to stop; kills it after `within_seconds`."""
        try:
            self.process.wait(within_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.kill()
            self.process.wait()
        self._forget()

    def how(self) -> str:
        """How it ended, in a few words."""
        status = self.process.returncode
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def _thread(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread

    def _watch(self, readers: list[threading.Thread]) -> None:
        started = time.monotonic()
        while self.alive and not self._answers_ready():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LOOK_SECONDS if time.monotonic() - started < LONG_START_SECONDS else 1.0)
        if self.alive:
            self.ready = True
            self._tell(("ready", self.number))
        self.process.wait()
        for reader in readers:
            # A program that the pod has left behind may hold the pipe open.
            reader.join(1.0)
        self._forget()
        self._tell(("ended", self.number))

    def _answers_ready(self) -> bool:
        connection = UnixConnection(self.private_socket, PROBE_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _pass_on(self, lines: IO[bytes], sink: Sink) -> None:
        with lines:
            while line := lines.readline(LINE_BYTES):
                if self.reason or line.startswith(CANNOT_START):
                    self.reason += line
                else:
                    sink(line if line.endswith(b"\n") else line + b"\n")

    def _forget(self) -> None:
        self.private_socket.unlink(missing_ok=True)
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()


def whole_lines(stream: IO[bytes]) -> Sink:
    """Writes each line in one piece; one that nobody reads any more is dropped."""
    lock = threading.Lock()

    def write(line: bytes) -> None:
        with lock:
            try:
                stream.write(line)
                stream.flush()
            except (OSError, ValueError):
                return

    return write
