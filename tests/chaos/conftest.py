"""Clusters of real pods: one for each test, or one for all tests of a file that leave it as they found it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.pods import Cluster
from tests.support.stage import Stage, staged


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def lasting_stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture
def stage(lasting_stage: Stage) -> Generator[Stage]:
    """The file's stage: healed after each test, and all pods ready again."""
    yield lasting_stage
    lasting_stage.heal()
