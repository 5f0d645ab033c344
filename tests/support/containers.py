"""Pods in containers of the product's own image, on a network that a test can take away from them."""

# Docker's client does not annotate what it answers.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pod_client import PodClient
from tests.support.servers import IMAGES, IN_CI
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
IMAGE = "peerflow-chaos"
MODULES = ("__init__", "pod_tasks", "hostile_tasks", "proxy", "proxy_main", "resp")
"""Of tests/support, mounted where pods look for task modules."""
LONGEST_LIFE = ["timeout", "--foreground", "--signal=TERM", "3600"]
"""Ends a container whose test session was killed before it could."""


def build_image() -> None:
    """Builds the image from this tree; skips where no Docker engine answers, and fails instead in CI."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        if IN_CI:
            pytest.fail("no Docker engine answers")
        pytest.skip("no Docker engine answers")
    arguments = [word for name in ("PIP_INDEX_URL", "PIP_TRUSTED_HOST") if name in os.environ for word in ("--build-arg", name)]
    built = subprocess.run(
        ["docker", "build", "--quiet", "--tag", IMAGE, *arguments, str(ROOT)], capture_output=True, text=True, timeout=600, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr


class PodContainer(PodClient):
    """One pod. `container` is Docker's own handle, for kill, pause, unpause, update, stop."""

    def __init__(self, container: Any, url: str) -> None:
        super().__init__(url)
        self.container = container

    def log_text(self) -> str:
        return self.container.logs().decode()

    def state(self) -> dict[str, Any]:
        self.container.reload()
        return self.container.attrs["State"]

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz", timeout=1).status_code == 200
        except httpx.TransportError:
            return False


class Fleet:
    """Redis and pods. Pods have two networks: over `front` the test reaches them, over `back` they reach Redis, and only there."""

    def __init__(self, folder: Path) -> None:
        from testcontainers.core.network import Network

        folder.chmod(0o777)  # the image's user is not the test's
        self.folder = folder
        self.namespace = "chaos"
        self._exits = ExitStack()
        self.front = self._exits.enter_context(Network())
        # Internal, so that Docker never moves the published port to it when a pod comes back.
        self.back = self._exits.enter_context(Network(docker_network_kw={"internal": True}))
        self.redis = self.start("redis:8", IMAGES["redis:8"], alias="redis")

    def start(
        self, image: str, command: list[str] | None = None, *, alias: str = "", environment: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """A container on `back`, or with `alias=""` on `front` first. Answers Docker's handle."""
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(image).with_network(self.back if alias else self.front).with_kwargs(**options)
        container = container.with_network_aliases(alias) if alias else container.with_exposed_ports(8000)
        for name, value in (environment or {}).items():
            container = container.with_env(name, value)
        for module in MODULES if image == IMAGE else ():
            container = container.with_volume_mapping(str(ROOT / "tests/support" / f"{module}.py"), f"/app/tests/support/{module}.py", "ro")
        container = container.with_volume_mapping(str(self.folder), "/history", "rw")
        if command:
            container = container.with_command(command)
        self._exits.callback(container.get_docker_client().client.close)
        self._exits.callback(container.stop)
        container.start()
        return container.get_wrapped_container()

    def pod(self, *, tasks: str = "tests.support.pod_tasks", redis: str = "redis", concurrency: int = 100, **options: Any) -> PodContainer:
        """Starts a pod, and waits until it is ready; `options` are Docker's."""
        environment = {
            "PEERFLOW_REDIS_URL": f"redis://{redis}:6379/0",
            "PEERFLOW_NAMESPACE": self.namespace,
            "PEERFLOW_LEASE_TTL_SECONDS": "2",
            "PEERFLOW_GRACE_SECONDS": "3",
            "PEERFLOW_TEST_HISTORY": "/history",
            "PEERFLOW_TASKS": tasks,
            "PEERFLOW_CONCURRENCY": str(concurrency),
            "DEBUG": "true",
        }
        container = self.start(
            IMAGE, [*LONGEST_LIFE, "peerflow", "serve"], environment=environment, entrypoint=[], stop_signal="SIGTERM", **options
        )
        self.back.connect(container.id)
        container.reload()
        port = container.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        pod = PodContainer(container, f"http://127.0.0.1:{port}")
        self._exits.callback(pod.http.close)
        wait_until(pod.is_ready, "the pod is ready", 60)
        return pod

    def proxy(self) -> Any:
        """A proxy in front of Redis, with the alias `proxy`."""
        command = ["python", "-m", "tests.support.proxy_main", "redis://redis:6379/0", "6379"]
        return self.start(IMAGE, command, alias="proxy", entrypoint=[])

    def cut(self, pod: PodContainer) -> None:
        """Takes the network to Redis away."""
        subprocess.run(["docker", "network", "disconnect", self.back.name, str(pod.container.id)], check=True, timeout=30)

    def reconnect(self, pod: PodContainer) -> None:
        self.back.connect(str(pod.container.id))

    def lines(self, name: str) -> list[list[str]]:
        """What the tasks wrote about themselves: run, task, attempt, fencing token, pod."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def fresh(self) -> None:
        """Another namespace, so that a test meets nothing of the one before."""
        self.namespace = f"chaos-{secrets.token_hex(3)}"

    def close(self) -> None:
        self._exits.close()
