"""Fixtures for all tests: servers, a key namespace of its own for each test, and the check for keys left behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from pathlib import Path

import pytest

from storage.connection import open_blocking_client
from tests.support.access import CLUSTERS, admin, admit
from tests.support.embedded_machine import Machine
from tests.support.key_leaks import KeyLeaks
from tests.support.servers import EMBEDDED, IMAGES, Server, Servers

pytest.register_assert_rewrite("tests.support.walk", "tests.support.places", "tests.support.run_model", "tests.support.store_model")

# Containers are stopped at the end of the session and end by themselves after an hour; a helper container for that needs a registry.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

ALL_SERVERS = [EMBEDDED, *(pytest.param(image, marks=pytest.mark.docker) for image in IMAGES)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` run where they are asked for: `-m long`, or PEERFLOW_LONG=1 for all of them beside the others."""
    if os.environ.get("PEERFLOW_LONG") == "1" or "long" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("embedded"))
    yield servers
    servers.close()


@pytest.fixture(autouse=True)
def key_leaks() -> Generator[KeyLeaks]:
    """Checks, after everything else has ended, that no key without a TTL is left."""
    leaks = KeyLeaks()
    yield leaks
    leaks.check()


@pytest.fixture
def namespace() -> str:
    """A key prefix that no other test uses, for `Store.open(namespace=…)`."""
    return "t" + secrets.token_hex(4)


@pytest.fixture(params=ALL_SERVERS)
def server(request: pytest.FixtureRequest, servers: Servers, namespace: str, key_leaks: KeyLeaks) -> Server:
    """Each server that peerflow supports, one after the other."""
    server = servers.get(request.param)
    key_leaks.watch(server.url, namespace)
    return Server(server.name, admit(server.url, namespace, namespace, CLUSTERS))


@pytest.fixture
def valkey_url(servers: Servers, namespace: str, key_leaks: KeyLeaks) -> str:
    """The embedded server alone, for tests to which the server's make is all the same."""
    url = servers.get(EMBEDDED).url
    key_leaks.watch(url, namespace)
    return admit(url, namespace, namespace, CLUSTERS)


@pytest.fixture(scope="session", autouse=True)
def backstage_is_the_tests_own() -> Generator[None]:
    """`Backstage` shifts clocks and cuts connections, which pods may not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.backstage.open_blocking_client", lambda url, **options: open_blocking_client(admin(url), **options))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        yield


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    """A data directory of its own, on which no embedded server is left afterwards."""
    machine = Machine(tmp_path / "data")
    yield machine
    machine.close()
