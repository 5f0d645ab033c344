"""A laboratory for single calls, on each supported server."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.lab import Lab
from tests.support.servers import Server

pytest.register_assert_rewrite("tests.support.walk", "tests.support.places", "tests.support.run_model", "tests.support.store_model")


@pytest.fixture
async def lab(server: Server, namespace: str) -> AsyncGenerator[Lab]:
    lab = await Lab.open(server.url, namespace)
    yield lab
    await lab.tidy()
    await lab.close()
