"""A pod in this process, on each supported server."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.bench import Bench
from tests.support.servers import Server


@pytest.fixture
async def bench(server: Server, namespace: str) -> AsyncGenerator[Bench]:
    bench = await Bench.open(server.url, namespace)
    yield bench
    await bench.close()
