"""A pod remembers for its tasks that Redis was away, or took no claims: afterwards their history says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path

import pytest

from engine.events import StorageBack, StorageLost
from engine.reasons import Reason
from storage.explained import TaskExplanation
from tests.support.bench import Bench
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect
from tests.support.waiting import wait_until_async

TWO = {"steps": [{"type": "parallel", "tasks": ["held", "held"]}]}


@pytest.fixture
def own_server(tmp_path: Path) -> Generator[RedisProcess]:
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
async def bench(own_server: RedisProcess) -> AsyncGenerator[Bench]:
    bench = await Bench.open(own_server.url, "away")
    yield bench
    await bench.close()


def held_until(finish: asyncio.Event, started: asyncio.Event) -> Callable[[], Awaitable[str]]:
    async def held() -> str:
        started.set()
        await finish.wait()
        return "done"

    return held


async def explained(bench: Bench, run_id: str, task_id: str) -> TaskExplanation:
    [task] = (await bench.store.explain_task(run_id, task_id)).tasks
    return task


def allow(server: RedisProcess, *, memory: int) -> None:
    with connect(server.url) as client:
        client.config_set("maxmemory", memory)  # pyright: ignore[reportUnknownMemberType]


async def test_a_task_that_was_ready_while_redis_was_away_has_waited_for_it(own_server: RedisProcess, bench: Bench) -> None:
    finish, started = asyncio.Event(), asyncio.Event()
    await bench.pod(held_until(finish, started), concurrency=1, ttl_seconds=2.0)
    run_id = await bench.post(TWO)
    await asyncio.wait_for(started.wait(), 5)
    waits = next(task.id for task in await bench.store.get_tasks(run_id, start=0, count=2) if not task.attempts)
    own_server.freeze()
    try:
        await wait_until_async(lambda: bool(bench.published.of(StorageLost)), "the pod misses the server")
    finally:
        own_server.thaw()
    await wait_until_async(lambda: bool(bench.published.of(StorageBack)), "the pod has the server back")

    async def told() -> bool:
        return Reason.STORAGE in (await explained(bench, run_id, waits)).waited_ms

    await wait_until_async(told, "the outage is in the task's history")
    finish.set()
    await bench.finished(run_id)
    history = await explained(bench, run_id, waits)
    assert "for Redis to answer" in history.summary
    assert history.now.reason is Reason.ENDED


async def test_a_task_that_waits_for_room_in_redis_says_so(own_server: RedisProcess, bench: Bench) -> None:
    finish, started = asyncio.Event(), asyncio.Event()
    pod = await bench.pod(held_until(finish, started), concurrency=1)
    run_id = await bench.post(TWO)
    await asyncio.wait_for(started.wait(), 5)
    waits = next(task.id for task in await bench.store.get_tasks(run_id, start=0, count=2) if not task.attempts)
    roomy = await bench.pod(held_until(finish, started), queues=("other",))
    allow(own_server, memory=1)
    try:
        roomy.look()

        async def told() -> bool:
            return Reason.REFUSED in (await explained(bench, run_id, waits)).waited_ms

        await wait_until_async(told, "the refusal is in the task's history")
    finally:
        allow(own_server, memory=0)
    finish.set()
    await bench.finished(run_id)
    assert "for room in Redis" in (await explained(bench, run_id, waits)).summary
    assert pod.readiness().ready


async def test_a_refusal_is_noted_although_nothing_waits(own_server: RedisProcess, bench: Bench) -> None:
    pod = await bench.pod(held_until(asyncio.Event(), asyncio.Event()))
    key = bench.store.partitions[0].keys.waits("*")
    allow(own_server, memory=1)
    try:
        pod.look()
        with connect(own_server.url) as client:
            await wait_until_async(
                lambda: [str(line).split()[0] for line in client.lrange(key, 0, -1)] == ["refused"], "the refusal is noted"
            )
    finally:
        allow(own_server, memory=0)
