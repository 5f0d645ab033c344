"""Pods of the manifests, run in Docker as a kubelet would."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.containers import IMAGE, build_image
from tests.support.manifests.kubelet import Cluster
from tests.support.manifests.objects import rendered
from tests.support.manifests.walkthrough import make_certificates
from tests.support.servers import IN_CI

IMAGES = {"peerflow:0.1.0": IMAGE, "redis:8.8.2": "redis:8"}
"""What this machine has in place of what the manifests name."""
PASSWORD = secrets.token_hex(32)

StartCluster = Callable[[str], Cluster]


@pytest.fixture(scope="session")
def built_image() -> str:
    build_image()
    return IMAGE


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """As the walk-through makes them."""
    if shutil.which("openssl") is None:
        (pytest.fail if IN_CI else pytest.skip)("openssl is not here")
    return make_certificates(tmp_path)


@pytest.fixture
def start_cluster(built_image: str, certificates: dict[str, str], tmp_path: Path) -> Generator[StartCluster]:
    """What `kubectl apply -k deploy/k8s/<folder>` would bring up, with the Secrets that it needs; nothing runs yet."""
    assert built_image
    with ExitStack() as exits:

        def start(folder: str) -> Cluster:
            from testcontainers.core.network import Network

            volumes = tmp_path / "volumes"
            volumes.mkdir()
            made = {"peerflow-redis": {"password": PASSWORD}, "peerflow-redis-tls": certificates}
            return Cluster(rendered(folder), made, IMAGES, volumes, exits.enter_context(Network()), exits)

        yield start
