"""A data directory with an embedded server, seen from outside: pods as real processes that can be killed, and a server that misbehaves."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from storage.embedded import EmbeddedValkey
from storage.embedded_folder import Folder
from tests.support.waiting import wait_until

POD = """
import sys
from pathlib import Path
from storage.embedded import EmbeddedValkey
member = EmbeddedValkey.join(Path(sys.argv[1]), linger_seconds=float(sys.argv[2]))
print(member.url, flush=True)
sys.stdin.read()
"""


class Pod:
    """A process that has joined, or is about to, and stays until it is killed."""

    def __init__(self, data_dir: Path, linger_seconds: float) -> None:
        command = [sys.executable, "-c", POD, str(data_dir), str(linger_seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def joined(self) -> str:
        """The URL, once the pod has it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        with self._process:
            self._process.kill()


class Machine:
    """One data directory and the pods on it; afterwards no server and no watcher may be left."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.folder = Folder(data_dir / "valkey")
        self._exits = ExitStack()

    def pod(self, linger_seconds: float = 0.0) -> Pod:
        pod = Pod(self.data_dir, linger_seconds)
        self._exits.callback(pod.kill)
        return pod

    def join(self, linger_seconds: float = 0.0, start_timeout_seconds: float = 10.0) -> EmbeddedValkey:
        member = EmbeddedValkey.join(self.data_dir, linger_seconds=linger_seconds, start_timeout_seconds=start_timeout_seconds)
        self._exits.callback(member.leave)
        return member

    def server_pid(self) -> int:
        return int((self.folder.path / "valkey.pid").read_text())

    def watcher_pid(self) -> int:
        """The server's parent, as long as that is the watcher that started it."""
        return int(Path(f"/proc/{self.server_pid()}/stat").read_text().rpartition(")")[2].split()[1])

    def wait_until_empty(self) -> None:
        wait_until(lambda: self.folder.is_free("server") and self.folder.is_free("watcher"), "server and watcher have ended", 15)

    def close(self) -> None:
        self._exits.close()
        if self.folder.path.is_dir():
            self.wait_until_empty()


class FakeServer:
    """Holds the server lock and gives one answer to each PING; afterwards it is silent, or dead."""

    def __init__(self, machine: Machine, answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.dies_after_its_answers = False
        self._folder = Folder.prepare(machine.data_dir)
        self._folder.mark()
        self._lock = self._folder.lock("server", fcntl.LOCK_EX, 0.0)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self._folder.record_socket())
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)

    def log(self, text: str) -> None:
        self._folder.log.write_text(text + "\n")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._die()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            with connection:
                if self.answers:
                    connection.recv(64)
                    connection.sendall(self.answers.pop(0))
                elif self.dies_after_its_answers:
                    self._die()

    def _die(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def is_running(pid: int) -> bool:
    """False also for a process that has ended and that nobody has asked about yet, as the first process of a container never does."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
