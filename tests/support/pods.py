"""Pods as real processes on one embedded server, and what a user does with them over HTTP."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from tests.support.pod_client import TERMINAL, PodClient
from tests.support.waiting import wait_until

__all__ = ["TERMINAL", "Cluster", "PodProcess", "free_port", "is_free"]

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody listens on, below those from which the kernel takes one for each outgoing connection: it stays free."""
    return wait_until(lambda: port if is_free(port := 10_000 + secrets.randbelow(20_000)) else 0, "a free port")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class PodProcess(PodClient):
    """A `peerflow serve` of its own process."""

    def __init__(self, folder: Path, number: int, environment: dict[str, str], tasks: str) -> None:
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.log = folder / f"pod-{number}.log"
        command = [sys.executable, "-m", "peerflow.cli", "serve", "--port", str(self.port), "--tasks", tasks]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.is_ready() or not self.alive, f"{self.url} is ready", 30)
        assert self.alive, self.log.read_text()

    def log_text(self) -> str:
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Cluster:
    """Several pods that share one embedded server; nothing of it is left at the end."""

    def __init__(self, folder: Path, *, tasks: str = "tests.support.pod_tasks", **settings: str) -> None:
        self.folder, self._tasks = folder, tasks
        self.history = folder / "history"
        self.environment = {
            "PEERFLOW_DATA_DIR": str(folder / "data"),
            "PEERFLOW_LEASE_TTL_SECONDS": "2",
            "PEERFLOW_GRACE_SECONDS": "5",
            "PEERFLOW_AUDIT_AFTER_SECONDS": "0.5",
            "PEERFLOW_TEST_HISTORY": str(folder),
            "DEBUG": "true",
            **{f"PEERFLOW_{name.upper()}": value for name, value in settings.items()},
        }
        self.pods: list[PodProcess] = []
        self._numbers = itertools.count()
        self._exits = ExitStack()

    def launch(self, *, tasks: str | None = None, **settings: str) -> PodProcess:
        """Starts a pod and does not wait for it; `tasks` and settings replace the cluster's own."""
        environment = {**self.environment, **{f"PEERFLOW_{name.upper()}": value for name, value in settings.items()}}
        pod = PodProcess(self.folder, next(self._numbers), environment, tasks or self._tasks)
        self.pods.append(pod)
        self._exits.callback(pod.close)
        return pod

    def start(self, count: int, *, tasks: str | None = None, **settings: str) -> list[PodProcess]:
        """Starts pods and waits until they are ready."""
        started = [self.launch(tasks=tasks, **settings) for _ in range(count)]
        for pod in started:
            pod.wait_until_ready()
        return started

    def lines(self, name: str) -> list[list[str]]:
        """What the tasks wrote about themselves, outside of Redis: one line for each start of an attempt."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def limbo_repairs(self) -> int:
        """What a pod that answers says of the audit's repairs; 0 where none does."""
        for pod in self.pods:
            if pod.process.poll() is not None:
                continue
            pod.thaw()
            if pod.is_ready():
                return cast("int", pod.get("/pods")["limbo_repairs_total"])
        return 0

    def close(self) -> None:
        """Ends all pods. Fails where a run had to be repaired: whatever happened to pods, the store has forgotten nothing."""
        repairs = self.limbo_repairs()
        self._exits.close()
        assert repairs == 0, f"{repairs} repairs of runs in limbo"
