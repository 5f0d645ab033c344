"""`peerflow serve --pods N` as a process, looked at from outside."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from peerflow.unix_http import UnixConnection
from tests.support.pods import ROOT, free_port
from tests.support.waiting import wait_until


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def pod_is_ready(private_socket: str) -> bool:
    connection = UnixConnection(Path(private_socket), 5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def pods_of(parent: int) -> dict[int, str]:
    """Process id → private socket of the pods that the process has started."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=False).stdout
    found = [line.split() for line in listed.splitlines() if "--private-socket" in line]
    return {int(words[0]): words[words.index("--private-socket") + 1] for words in found}


class Supervisor:
    """Its pods share an embedded server of their own; their output goes to two files.

    `path` is where the pods find modules beside the installed ones; `before` is a command that starts the supervisor.
    """

    def __init__(
        self,
        folder: Path,
        pods: int,
        *,
        tasks: str = "tests.support.pod_tasks",
        path: str = "",
        before: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.out, self.err = folder / "out", folder / "err"
        environment = {
            **os.environ,
            "PEERFLOW_DATA_DIR": str(folder / "data"),
            "PEERFLOW_LEASE_TTL_SECONDS": "2",
            "PEERFLOW_GRACE_SECONDS": "5",
            "PEERFLOW_TEST_HISTORY": str(folder),
            "TMPDIR": str(folder),
            "PYTHONPATH": path,
            **{f"PEERFLOW_{name.upper()}": value for name, value in settings.items()},
        }
        command = [*before, sys.executable, "-m", "peerflow.cli", "serve", "--pods", str(pods), "--port", str(port), "--tasks", tasks]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.err.read_text()

    def pods(self) -> dict[int, str]:
        return pods_of(self.process.pid)

    def ready(self) -> set[int]:
        """Process ids of the pods that are ready."""
        return {pid for pid, socket in self.pods().items() if pod_is_ready(socket)}

    def wait_until_ready(self, pods: int) -> set[int]:
        wait_until(lambda: len(self.ready()) == pods or not self.alive, f"{pods} pods are ready", 30)
        assert self.alive, self.log()
        return self.ready()

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log(), f"the log says {text!r}", 30)

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
