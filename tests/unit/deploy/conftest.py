"""What `kubectl apply` sends for each folder, and the routes that pods answer."""

from __future__ import annotations

import pytest

from tests.support.manifests.objects import FOLDERS, Objects, rendered
from tests.unit.api.conftest import make_pod


@pytest.fixture(params=FOLDERS)
def objects(request: pytest.FixtureRequest) -> Objects:
    """Of every folder, one after the other, rendered by kubectl."""
    return rendered(request.param)


@pytest.fixture(scope="session")
def routes() -> set[str]:
    """Paths that answer GET."""
    paths = make_pod().app.openapi()["paths"]
    return {path for path, operations in paths.items() if "get" in operations}
