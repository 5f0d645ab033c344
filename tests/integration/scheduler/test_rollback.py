"""Redis forgets its last moments, again and again: every run that it still knows comes to the end that its tasks lead to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StorageError
from engine.states import RunState, TaskState
from scheduler.builtin import sleep
from scheduler.context import TaskContext
from storage.store import Store
from tests.support.bench import Bench
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until_async

CUTS = 30
TTL_SECONDS = 1.0
DOCUMENT: dict[str, Any] = {
    "tasks": {
        "first": {"task": "good"},
        **{f"m{number}": {"task": "good", "depends_on": ["first"]} for number in range(300)},
        "join": {"task": "good", "depends_on": [f"m{number}" for number in range(300)]},
        "flaky": {"task": "flaky", "retry": {"max_attempts": 3, "wait": {"initial": 0.2, "jitter": 0}}},
        "asleep": {"task": "sleep", "args": {"seconds": 0.3}, "depends_on": ["flaky"]},
        "bad": {"task": "bad", "depends_on": ["asleep"], "allow_failure": True},
        "skipped": {"task": "good", "depends_on": ["bad", "join"]},
        "never": {"task": "good", "depends_on": ["skipped"]},
    }
}
ENDS = Counter({TaskState.SUCCEEDED: 304, TaskState.FAILED: 1, TaskState.SKIPPED: 2})


async def good() -> bool:
    return True


async def bad() -> bool:
    return False


async def flaky(ctx: TaskContext) -> bool:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return True


class Forgetful:
    """A server whose file loses its end while it is down."""

    def __init__(self, folder: Path, source: random.Random) -> None:
        self.folder, self.random = folder, source
        self.process = RedisProcess(folder, "--auto-aof-rewrite-percentage", "0")
        self.cut: list[int] = []

    def size(self) -> int:
        return self._file().stat().st_size

    def _file(self) -> Path:
        return max(self.folder.glob("appendonlydir/*.incr.aof"))

    def forget(self, since: int) -> None:
        """Loses any number of bytes of what was written after the first `since`, and comes back."""
        self.process.kill()
        size = self.size()
        keep = self.random.randint(min(since, size), size)
        with self._file().open("r+b") as file:
            file.truncate(keep)
        self.cut.append(size - keep)
        self.process.start()


@pytest.fixture
async def forgetful(tmp_path: Path) -> AsyncGenerator[Forgetful]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    forgetful = Forgetful(tmp_path, random.Random(seed))
    forgetful.process.start()
    yield forgetful
    forgetful.process.close()


@pytest.mark.slow
async def test_runs_end_well_though_the_server_forgets_its_last_moments_thirty_times(forgetful: Forgetful) -> None:
    bench = Bench(await Store.open(forgetful.process.url))
    for _ in range(2):
        await bench.pod(good, bad, flaky, sleep, ttl_seconds=TTL_SECONDS, unheard_seconds=1.0, audit_after_seconds=0.2)
    try:
        for _ in range(CUTS):
            since = forgetful.size()
            await bench.post(DOCUMENT)
            grown = forgetful.random.randint(5_000, 150_000)
            await wait_until_async(lambda enough=since + grown: forgetful.size() > enough or all_ended(bench), "the file has grown")
            await asyncio.to_thread(forgetful.forget, since)
        assert sum(forgetful.cut) > 100_000
        await wait_until_async(lambda: all_ended(bench), "all runs that there are have ended", 30)
        runs = (await bench.store.list_runs(limit=100)).runs
        for run in runs:
            assert run.state is RunState.SUCCEEDED
            tasks = await bench.store.get_tasks(run.run_id, start=0, count=1_000)
            assert Counter(task.state for task in tasks) == ENDS
            assert {state: run.counts[state] for state in ENDS} == ENDS
        assert len(runs) > CUTS / 3
        assert await bench.store.limbo_repairs() == 0, "what is left after a cut is an earlier state, and whole"
    finally:
        await bench.close()


async def all_ended(bench: Bench) -> bool:
    try:
        runs = (await bench.store.list_runs(limit=100)).runs
    except StorageError:
        return False
    return all(run.state.terminal for run in runs)
