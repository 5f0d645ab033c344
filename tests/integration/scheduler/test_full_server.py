"""A server whose memory is full takes no new work, and loses none of what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from engine.errors import StorageRefused
from engine.states import RunState, TaskState
from tests.support.bench import Bench
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect
from tests.support.waiting import wait_until_async


@pytest.fixture
def own_server(tmp_path: Path) -> Generator[RedisProcess]:
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.close()


def allow(server: RedisProcess, *, memory: int) -> None:
    with connect(server.url) as client:
        client.config_set("maxmemory", memory)  # pyright: ignore[reportUnknownMemberType]


async def test_a_refused_claim_does_not_hold_up_the_commit_of_what_has_run(own_server: RedisProcess) -> None:
    finish, started = asyncio.Event(), asyncio.Event()

    async def held() -> str:
        started.set()
        await finish.wait()
        return "done"

    bench = await Bench.open(own_server.url, "full")
    try:
        pod = await bench.pod(held)
        document = {"steps": [{"type": "sequential", "tasks": ["held"]}]}
        run_id = await bench.post(document)
        await asyncio.wait_for(started.wait(), 5)
        allow(own_server, memory=1)
        pod.look()
        await wait_until_async(lambda: "memory" in pod.readiness().reason, "the pod says why it is not ready")
        with pytest.raises(StorageRefused):
            await bench.post(document)
        finish.set()
        run, tasks = await bench.finished(run_id)
        assert (run.state, tasks["held"].state, tasks["held"].result) == (RunState.SUCCEEDED, TaskState.SUCCEEDED, "done")
        allow(own_server, memory=0)
        await wait_until_async(lambda: pod.readiness().ready, "the pod is ready again")
        assert (await bench.run(document))[0].state is RunState.SUCCEEDED
    finally:
        allow(own_server, memory=0)
        await bench.close()
