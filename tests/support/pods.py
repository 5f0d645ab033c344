"""Pods as real processes on one embedded server, and what a user does with them over HTTP."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import httpx

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
TERMINAL = {"succeeded", "failed", "cancelled"}


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


class PodProcess:
    """A `peerflow serve` of its own process."""

    def __init__(self, folder: Path, number: int, environment: dict[str, str], tasks: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"pod-{number}.log"
        command = [sys.executable, "-m", "peerflow.cli", "serve", "--port", str(self.port), "--tasks", tasks]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def get(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def post(self, definition: object, **headers: str) -> str:
        answer = self.http.post("/workflow", json=definition, headers=headers)
        assert answer.status_code == 202, answer.text
        return cast("str", answer.json()["run_id"])

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, f"{self.url} is ready", 30)
        assert self.process.poll() is None, self.log.read_text()

    def wait_until_finished(self, run_id: str, within_seconds: float = 60) -> dict[str, Any]:
        """The run's whole status, once it has ended."""
        wait_until(lambda: self.get(f"/runs/{run_id}")["status"] in TERMINAL, f"run {run_id} has ended", within_seconds)
        return cast("dict[str, Any]", self.get(f"/workflow_status/{run_id}"))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/runs/{run_id}/events", after=str(len(events)), limit="1000")["events"]
            if not page:
                return events
            events += page

    @property
    def pod_id(self) -> str:
        return cast("str", self.get("/readyz")["detail"]["pod_id"])

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
            "PEERFLOW_TEST_HISTORY": str(folder),
            "DEBUG": "true",
            **{f"PEERFLOW_{name.upper()}": value for name, value in settings.items()},
        }
        self.pods: list[PodProcess] = []
        self._exits = ExitStack()

    def start(self, count: int, *, tasks: str | None = None) -> list[PodProcess]:
        """Starts pods with the cluster's task modules, or with others."""
        modules = self._tasks if tasks is None else tasks
        started = [PodProcess(self.folder, len(self.pods) + number, self.environment, modules) for number in range(count)]
        for pod in started:
            self.pods.append(pod)
            self._exits.callback(pod.close)
        for pod in started:
            pod.wait_until_ready()
        return started

    def lines(self, name: str) -> list[list[str]]:
        """What the tasks wrote about themselves, outside of Redis: one line for each start of an attempt."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        self._exits.close()
