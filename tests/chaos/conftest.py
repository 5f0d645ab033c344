"""A cluster of real pods for each test."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.pods import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()
