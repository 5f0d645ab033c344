"""Pods over TLS, with a certificate of their own and the ACL user, to a server that knows nobody else."""

# redis-py and Docker's client do not annotate all that they take and answer.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.errors import StorageUnavailable
from storage import acl
from storage.store import Store
from tests.support.access import PASSWORD
from tests.support.certificates import Authority
from tests.support.pods import ROOT, Cluster, free_port
from tests.support.servers import IMAGES, IN_CI
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.parametrize("image", IMAGES)]
PROGRAMS = {"redis:8": "redis-server", "valkey/valkey:8": "valkey-server"}


class SecureServer:
    """A container that listens with TLS alone, wants client certificates, and has one user."""

    def __init__(self, image: str, folder: Path) -> None:
        from testcontainers.core.container import DockerContainer

        self.authority = Authority(folder)
        self.port = free_port()
        self._folder = folder
        (folder / "users.acl").write_text(acl.acl_file(hashed=acl.password_hash(PASSWORD)))
        folder.chmod(0o755)
        command = [
            "timeout", "3600", PROGRAMS[image], "--port", "0", "--tls-port", "6379", "--tls-cert-file", "/tls/server.pem",
            "--tls-key-file", "/tls/server.key", "--tls-ca-cert-file", "/tls/ca.pem", "--tls-auth-clients", "yes",
            "--aclfile", "/tls/users.acl", "--appendonly", "yes", "--save", "", "--bind", "*",
        ]  # fmt: skip
        self._container: Any = DockerContainer(image).with_command(command).with_bind_ports(6379, self.port)
        self._container.with_volume_mapping(str(folder), "/tls", "ro")
        self.host = str(self._container.get_docker_client().host())
        self.authority.issue("server", self.host)
        self.certificate, self.key = self.authority.issue("client", "pod")

    @property
    def url(self) -> str:
        return (
            f"rediss://{acl.USER}:{PASSWORD}@{self.host}:{self.port}/0"
            f"?ssl_ca_certs={self.authority.file}&ssl_certfile={self.certificate}&ssl_keyfile={self.key}"
        )

    def start(self) -> None:
        self._container.start()
        self.wait()

    def wait(self) -> None:
        wait_until(self._answers, "the server answers", 30)

    def restart(self) -> None:
        self._container.get_wrapped_container().restart(timeout=5)
        self.wait()

    def close(self) -> None:
        self._container.stop()
        self._container.get_docker_client().client.close()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@pytest.fixture
def secure(image: str, tmp_path: Path) -> Generator[SecureServer]:
    (tmp_path / "tls").mkdir()
    with ExitStack() as exits:
        try:
            server = SecureServer(image, tmp_path / "tls")
            exits.callback(server.close)
            server.start()
        except Exception as error:
            if IN_CI:
                raise
            pytest.skip(f"no container: {error}")
        yield server


def test_a_run_goes_through_a_restart_over_tls_with_a_client_certificate_and_the_acl_user(secure: SecureServer, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, redis_url=secure.url)
    try:
        first, second = cluster.start(2)
        document = {"steps": [{"type": "sequential", "tasks": [{"task": "sleep", "args": {"seconds": 0.2}}] * 10}]}
        run_id = first.post(document)
        wait_until(lambda: first.get(f"/runs/{run_id}")["counts"]["succeeded"] >= 2, "two tasks have ended", 30)
        # What is signed anew while pods run is what their next connections show; the old one's key is gone.
        secure.certificate, secure.key = secure.authority.issue("client", "pod")
        secure.restart()
        for pod in (first, second):
            wait_until(pod.is_ready, f"{pod.url} is ready again", 30)
        # Were the default user without rights, the server would have dropped what scripts wrote before it restarted.
        wait_until(lambda: second.get(f"/runs/{run_id}")["status"] == "succeeded", "the run has ended", 30)
    finally:
        cluster.close()


async def test_nobody_comes_in_without_certificate_or_password(secure: SecureServer) -> None:
    with redis.Redis.from_url(secure.url.replace(f"{acl.USER}:{PASSWORD}@", "")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with pytest.raises(StorageUnavailable, match=f"rediss://{secure.host}"):
        await Store.open(secure.url.split("&", maxsplit=1)[0])
    await (await Store.open(secure.url)).close()


def test_doctor_speaks_tls(secure: SecureServer, tmp_path: Path) -> None:
    def doctor(url: str) -> dict[str, dict[str, str]]:
        command = [sys.executable, "-m", "peerflow.cli", "doctor", "--json"]
        environment = {**os.environ, "PEERFLOW_REDIS_URL": url, "PEERFLOW_DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return {check["subject"]: check for check in json.loads(done.stdout)["checks"]}

    checks = doctor(secure.url)
    assert checks["redis"]["verdict"] == "ok"
    assert checks["persistence"]["verdict"] == "note"
    assert PASSWORD not in json.dumps(checks)
    (tmp_path / "other").mkdir()
    problem = doctor(secure.url.replace(str(secure.authority.file), str(Authority(tmp_path / "other").file)))["redis"]
    assert problem["verdict"] == "problem"
    assert "nobody that this pod trusts has signed its certificate" in problem["found"]
