"""The executor that most of these tests try."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio

from tests.support.attempts import Workbench, workbench


@pytest_asyncio.fixture
async def bench() -> AsyncGenerator[Workbench]:
    async with workbench() as bench:
        yield bench
