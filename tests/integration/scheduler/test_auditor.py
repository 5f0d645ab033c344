"""Pods find a run in limbo by themselves, and bring it to its end; in sound runs they never find anything."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from unittest.mock import AsyncMock

import pytest

from engine.events import LimboRepaired, LoopFailed
from engine.states import RunState
from scheduler.context import TaskContext
from scheduler.passing import Passer
from tests.support.bench import Bench
from tests.support.servers import Server, connect
from tests.support.waiting import wait_until_async

AFTER_SECONDS = 0.2
PREDECESSORS = [{"task": "good", "id": f"p{number}"} for number in range(3)]


class Gate:
    """Holds tasks until it is opened."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.waiting = 0

    async def held(self) -> bool:
        self.waiting += 1
        await self.event.wait()
        return True


async def good() -> bool:
    return True


async def flaky(ctx: TaskContext) -> bool:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return True


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held_run(bench: Bench, gate: Gate) -> AsyncGenerator[str]:
    """A run of which one task is held by one of two pods, one waits for its retry, one for another function, and the rest for these."""
    for _ in range(2):
        await bench.pod(good, flaky, gate.held, ttl_seconds=2.0, audit_after_seconds=AFTER_SECONDS)
    run_id = await bench.post(
        {
            "tasks": {
                "held": {"task": "held"},
                "later": {"task": "flaky", "retry": {"max_attempts": 2, "wait": {"initial": 3, "jitter": 0}}},
                "aside": {"task": "good"},
                "join": {"task": "good", "depends_on": ["held", "later", "aside"]},
                "after": {"task": "good", "depends_on": ["join"]},
            }
        }
    )
    await wait_until_async(lambda: gate.waiting, "a task is held")

    async def settled() -> bool:
        return {task.id: task.state.value for task in await bench.store.get_tasks(run_id, start=0, count=5)} == {
            "held": "running", "later": "waiting", "aside": "succeeded", "join": "pending", "after": "pending",
        }  # fmt: skip

    await wait_until_async(settled, "the run stands still")
    yield run_id
    gate.event.set()


def key(bench: Bench, name: str) -> str:
    return bench.store.partitions[0].keys.prefix + name


def repaired(bench: Bench, run_id: str) -> list[str]:
    return [what for event in bench.published.events if isinstance(event, LimboRepaired) and event.run_id == run_id for what in event.what]


async def test_a_quiet_run_that_is_sound_is_looked_at_and_left_alone(bench: Bench, server: Server, held_run: str, gate: Gate) -> None:
    with connect(server.url) as client:
        first = client.zscore(key(bench, "audits"), held_run)

        def looked_at_again() -> bool:
            return client.zscore(key(bench, "audits"), held_run) != first

        await wait_until_async(looked_at_again, "a pod looks at the run")
    gate.event.set()
    run, _ = await bench.finished(held_run)
    assert run.state is RunState.SUCCEEDED
    assert await bench.store.limbo_repairs() == 0
    assert bench.published.of(LoopFailed) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [("timers", {"1 timer"}), ("claims:{pod}", {"0 claim"}), ("run:{run}:edges", {"3 edges"}), ("audits", set[str]())],
)
async def test_a_run_that_has_lost_something_is_repaired_and_ends_as_it_would_have(
    bench: Bench, server: Server, held_run: str, gate: Gate, name: str, what: set[str]
) -> None:
    pod = (await bench.task(held_run, "held")).pod
    with connect(server.url) as client:
        assert client.delete(key(bench, name.format(pod=pod, run=held_run))) == 1
    if what:
        await wait_until_async(lambda: set(repaired(bench, held_run)) == what, "the run is repaired")
        assert await bench.store.limbo_repairs() == 1
        assert (await bench.event_types(held_run)).count("task_repaired") == 1
    else:
        with connect(server.url) as client:
            await wait_until_async(lambda: client.zscore(key(bench, "audits"), held_run), "the run is listed again")
    gate.event.set()
    run, tasks = await bench.finished(held_run)
    assert run.state is RunState.SUCCEEDED
    assert (tasks["held"].attempts, tasks["held"].lost, tasks["later"].attempts) == (1, 0, 2)
    assert gate.waiting == 1


async def test_tasks_that_fell_out_of_the_ready_queue_are_claimed_after_all(bench: Bench, server: Server) -> None:
    run_id = await bench.post({"steps": [{"type": "parallel", "tasks": ["good"] * 700}]})
    with connect(server.url) as client:
        client.delete(key(bench, "lanes"), key(bench, "lane:default/good"), key(bench, "timers"))
    await bench.pod(good, audit_after_seconds=AFTER_SECONDS)
    run, _ = await bench.finished(run_id)
    assert run.state is RunState.SUCCEEDED
    assert await bench.store.limbo_repairs() == 700


@pytest.mark.parametrize("fails", [False, True])
async def test_a_wide_fan_out_whose_slices_were_lost_is_told_all_the_same(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    middle: dict[str, Any] = {f"m{number}": {"task": "good", "depends_on": ["first"]} for number in range(600)}
    run_id = await bench.post({"tasks": {"first": {"task": "first"}, **middle, "last": {"task": "good", "depends_on": [*middle]}}})

    async def first() -> bool:
        return not fails

    with connect(server.url) as client, monkeypatch.context() as patch:
        patch.setattr(Passer, "_pass", AsyncMock())
        await bench.pod(good, first, audit_after_seconds=AFTER_SECONDS)
        await wait_until_async(lambda: client.zrem(key(bench, "timers"), f"edges {run_id} 0 250"), "a slice is lost")
    run, tasks = await bench.finished(run_id)
    assert run.state is (RunState.FAILED if fails else RunState.SUCCEEDED)
    assert {task.state.value for task in tasks.values()} == ({"failed", "skipped"} if fails else {"succeeded"})
    assert await bench.store.limbo_repairs() >= 350
