"""Runs of real pods on a real server, read through the public API of storage and of a pod, are right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from engine.states import RunState, TaskState
from peerflow.api import create_app
from peerflow.settings import Settings
from peerflow.testing.checker import check
from peerflow.testing.history import History
from peerflow.testing.records import RunRecord, read_run, read_run_over_http
from scheduler.builtin import sleep
from scheduler.context import TaskContext
from tests.support.bench import Bench

WAIT = {"initial": 0.05, "multiplier": 1, "jitter": 0}


@pytest.fixture
async def bench(valkey_url: str, namespace: str) -> AsyncGenerator[Bench]:
    bench = await Bench.open(valkey_url, namespace)
    yield bench
    await bench.close()


def noted(history: History) -> Any:
    """A task function that keeps its history, and fails as often as it is told."""

    async def work(ctx: TaskContext, failures: int = 0) -> int:
        attempt: dict[str, Any] = {
            "run_id": ctx.run_id,
            "task_id": ctx.task_id,
            "attempt": ctx.attempt,
            "fencing_token": ctx.fencing_token,
            "pod_id": ctx.pod_id,
        }
        history.attempt_started(**attempt)
        fails = ctx.attempt <= failures
        history.attempt_ended(**attempt, outcome="failed" if fails else "succeeded")
        if fails:
            raise ConnectionError("not yet")
        return ctx.attempt

    return work


DOCUMENT: dict[str, Any] = {
    "name": "real",
    "tasks": {
        "first": {"task": "work"},
        "flaky": {"task": "work", "depends_on": ["first"], "args": {"failures": 2}, "retry": {"max_attempts": 3, "wait": WAIT}},
        "nap": {"task": "sleep", "depends_on": ["first"], "args": {"seconds": 1.5}},
        "broken": {"task": "work", "depends_on": ["first"], "args": {"failures": 9}, "allow_failure": True},
        "never": {"task": "work", "depends_on": ["broken"]},
        "join": {"task": "work", "depends_on": ["flaky", "nap"]},
    },
}


async def read_over_http(bench: Bench, run_id: str) -> RunRecord:
    """Through the API of a pod on the same store."""
    app = create_app(
        bench.store,
        settings=Settings.model_validate({"debug": True}),
        readiness=lambda: (True, "ready", {}),
        function_names=frozenset(),
        publisher=bench.published,
    )
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod") as client:

        def get(path: str, /, **params: str) -> Any:
            return asyncio.run_coroutine_threadsafe(client.get(path, params=params), loop).result(10).raise_for_status().json()

        return await asyncio.to_thread(read_run_over_http, get, run_id)


async def test_a_run_with_retries_a_sleep_and_failures_is_right_at_each_moment(bench: Bench) -> None:
    history = History()
    for _ in range(2):
        await bench.pod(noted(history), sleep)
    number = history.invoke("post", name="real")
    run_id = await bench.post(DOCUMENT)
    history.ok(number, run_id=run_id, existing=False)
    seen: set[TaskState] = set()
    async with asyncio.timeout(30):
        while (record := await read_run(bench.store, run_id)).run.state is RunState.RUNNING:
            assert check(history, [record], live=True) == []
            seen |= {task.state for task in record.tasks}
    assert check(history, [record]) == []
    assert record.run.state is RunState.SUCCEEDED
    assert [len(log) for log in record.attempts.values()] == [2]
    over_http = await read_over_http(bench, run_id)
    assert check(history, [over_http]) == []
    told = tuple(replace(task, fencing_token=None) for task in record.tasks)
    assert replace(record, tasks=told) == over_http
    assert TaskState.WAITING in seen, "the run was never read while it was under way: the test proved less than it says"
