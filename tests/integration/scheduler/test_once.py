"""`ctx.once()` in task functions that a pod runs: async, in threads, in child processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.ids import effect_key
from engine.states import RunState
from scheduler.context import TaskContext
from storage.views import TaskView
from tests.support import effect_tasks
from tests.support.bench import Bench
from tests.support.effect_tasks import lines
from tests.support.waiting import wait_until_async

RETRY = {"max_attempts": 3, "wait": {"initial": 0.01, "max": 0.01}}
KINDS = [
    pytest.param(effect_tasks.pays_async, None, id="async"),
    pytest.param(effect_tasks.pays, None, id="thread"),
    pytest.param(effect_tasks.pays, "process", id="process"),
    pytest.param(effect_tasks.pays_async, "process", id="async-process"),
]


async def start(bench: Bench, function: Callable[..., Any], executor: str | None, **options: Any) -> None:
    """A pod that has the function, in child processes where `executor` says so."""
    if executor == "process":
        await bench.pod(in_processes=[function], **options)
    else:
        await bench.pod(function, **options)


def pay(function: Callable[..., Any], folder: Path, **fields: Any) -> dict[str, Any]:
    args = {"folder": str(folder), **fields.pop("args", {})}
    return {"tasks": {"pay": {"task": function.__name__, "args": args, "retry": RETRY, **fields}}}


async def effects(bench: Bench, run_id: str) -> list[tuple[str, str, int]]:
    return [(effect.name, effect.state, effect.attempt) for effect in await bench.store.get_effects(run_id, "pay")]


def error_of(task: TaskView) -> tuple[str, str]:
    error: Any = task.error
    return error["type"], error["message"]


@pytest.mark.parametrize(("function", "executor"), KINDS)
async def test_what_an_attempt_has_confirmed_is_not_done_again(
    bench: Bench, tmp_path: Path, function: Callable[..., Any], executor: str | None
) -> None:
    await start(bench, function, executor)
    run, tasks = await bench.run(pay(function, tmp_path, args={"fail": "after"}))
    key = effect_key(run.run_id, "pay", "charge")
    assert (run.state, tasks["pay"].attempts, tasks["pay"].result) == (RunState.SUCCEEDED, 2, {"payment": "p-1"})
    assert lines(tmp_path, "seen") == [["1", "new", key], ["2", "confirmed", key]]
    assert lines(tmp_path, "charged") == [["1", key]]
    assert await effects(bench, run.run_id) == [("charge", "confirmed", 1)]
    types = [kind for kind in await bench.event_types(run.run_id) if kind.startswith("effect")]
    assert types == ["effect_sent", "effect_confirmed"]


@pytest.mark.parametrize(("function", "executor"), KINDS)
async def test_what_an_attempt_has_announced_and_not_confirmed_is_unknown_to_the_next(
    bench: Bench, tmp_path: Path, function: Callable[..., Any], executor: str | None
) -> None:
    await start(bench, function, executor)
    run, tasks = await bench.run(pay(function, tmp_path, args={"fail": "inside"}))
    key = effect_key(run.run_id, "pay", "charge")
    assert (run.state, tasks["pay"].result) == (RunState.SUCCEEDED, {"payment": "p-2"})
    assert lines(tmp_path, "seen") == [["1", "new", key], ["2", "unknown", key]]
    assert await effects(bench, run.run_id) == [("charge", "confirmed", 2)]


@pytest.mark.parametrize("executor", [None, "process"])
async def test_an_attempt_that_refuses_the_unknown_fails_for_good_and_does_nothing(
    bench: Bench, tmp_path: Path, executor: str | None
) -> None:
    await start(bench, effect_tasks.pays_or_asks, executor)
    run, tasks = await bench.run(pay(effect_tasks.pays_or_asks, tmp_path))
    assert error_of(tasks["pay"])[0] == "EffectUnknown"
    assert effect_key(run.run_id, "pay", "charge") in error_of(tasks["pay"])[1]
    assert (tasks["pay"].attempts, len(lines(tmp_path, "charged"))) == (2, 1)
    assert await effects(bench, run.run_id) == [("charge", "unknown", 1)]


@pytest.mark.parametrize("executor", [None, "process"])
async def test_a_result_of_an_effect_has_the_limit_of_a_task_s_result(bench: Bench, executor: str | None) -> None:
    await start(bench, effect_tasks.keeps, executor, result_bytes=1_000)
    good, _ = await bench.run({"tasks": {"pay": {"task": "keeps", "args": {"size": 998}}}})
    assert await effects(bench, good.run_id) == [("charge", "confirmed", 1)]
    bad, tasks = await bench.run({"tasks": {"pay": {"task": "keeps", "args": {"size": 999}, "retry": RETRY}}})
    assert error_of(tasks["pay"])[0] == "ResultTooLarge"
    assert tasks["pay"].attempts == 1, "another attempt could not end better"
    assert await effects(bench, bad.run_id) == [("charge", "unknown", 1)]


async def test_a_thread_whose_run_was_cancelled_learns_on_leaving_that_it_lost_its_lease(bench: Bench, tmp_path: Path) -> None:
    pod = await bench.pod(effect_tasks.waits_inside)
    run_id = await bench.post(pay(effect_tasks.waits_inside, tmp_path))
    await wait_until_async(lambda: lines(tmp_path, "inside"), "the effect has begun")
    assert await effects(bench, run_id) == [("charge", "sent", 1)]
    await bench.store.cancel(run_id)
    await wait_until_async(lambda: not pod.readiness().detail["running"], "the pod has given the claim back")
    (tmp_path / "go").touch()
    await wait_until_async(lambda: lines(tmp_path, "left"), "the thread has left the block")
    assert lines(tmp_path, "left") == [["LeaseLost"]]
    assert await effects(bench, run_id) == [("charge", "unknown", 1)]


async def test_sync_blocks_in_async_code_fail_and_announce_nothing(bench: Bench) -> None:
    async def work(ctx: TaskContext) -> None:
        with ctx.once("charge"):
            raise AssertionError("the block must not run")

    await bench.pod(work)
    run, tasks = await bench.run({"tasks": {"pay": {"task": "work"}}})
    assert error_of(tasks["pay"])[0] == "RuntimeError"
    assert "async with" in error_of(tasks["pay"])[1]
    assert await effects(bench, run.run_id) == []


async def test_many_effects_of_many_tasks_are_each_confirmed(bench: Bench) -> None:
    async def work(ctx: TaskContext, number: int) -> int:
        for name in ("a", "b", "c"):
            async with ctx.once(name) as effect:
                effect.result = number
        return number

    await bench.pod(work)
    run, tasks = await bench.run({"tasks": {f"t{number}": {"task": "work", "args": {"number": number}} for number in range(100)}})
    assert run.state is RunState.SUCCEEDED
    for task_id in tasks:
        assert [effect.state for effect in await bench.store.get_effects(run.run_id, task_id)] == ["confirmed"] * 3
