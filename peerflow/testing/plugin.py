"""The pytest plugin that comes with the package: the fixture `peerflow_cluster`.

    def test_the_order_is_summed(peerflow_cluster):
        cluster = peerflow_cluster(pods=3, tasks=["shop"])
        assert cluster.wait(cluster.submit(ORDER)).state == "succeeded"

`-p no:peerflow` switches it off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# pytest loads this module at each start: what takes time to import is imported by the fixtures.
if TYPE_CHECKING:
    from peerflow.testing.cluster import Cluster


@pytest.fixture(scope="session")
def peerflow_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of an embedded server, started for the first cluster and shared by all. Override it to use a server of your own."""
    from storage.embedded import EmbeddedValkey  # noqa: PLC0415

    folder: Path = tmp_path_factory.mktemp("peerflow")
    member = EmbeddedValkey.join(folder, linger_seconds=0.0)
    yield member.url
    member.leave()


@pytest.fixture
def peerflow_cluster(peerflow_server: str) -> Generator[Callable[..., Cluster]]:
    """Makes clusters: the arguments are those of `peerflow.testing.Cluster`. All are stopped, and their data deleted, after the test."""
    from peerflow.testing.cluster import Cluster  # noqa: PLC0415

    with ExitStack() as clusters:

        def make(pods: int = 1, tasks: Any = (), **options: Any) -> Cluster:
            options.setdefault("url", peerflow_server)
            return clusters.enter_context(Cluster(pods, tasks, **options))

        yield make
