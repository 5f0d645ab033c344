"""A pod takes runs from their first task to their last."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from engine.events import CommitRefused, LeaseLost, RetryScheduled, RunFinished
from engine.states import RunState, TaskState
from scheduler.context import TaskContext
from tests.support.bench import Bench
from tests.support.servers import Server, connect, scan
from tests.support.waiting import wait_until_async


async def good() -> bool:
    return True


async def bad() -> None:
    raise ValueError("no such thing")


def untrue() -> bool:
    return False


async def add(left: int, right: int) -> int:
    return left + right


def steps(*tasks: Any, kind: str = "sequential", **fields: Any) -> dict[str, Any]:
    return {"steps": [{"type": kind, "tasks": list(tasks)}], **fields}


async def test_a_workflow_of_parallel_and_sequential_steps_runs_in_order(bench: Bench) -> None:
    await bench.pod(good, add)
    document = {
        "steps": [
            {"type": "parallel", "tasks": ["good", {"task": "good", "id": "b"}]},
            {"type": "sequential", "tasks": [{"task": "add", "args": {"left": 2, "right": 3}}]},
        ]
    }
    run, tasks = await bench.run(document)
    assert run.state is RunState.SUCCEEDED
    assert {task_id: (task.state, task.result) for task_id, task in tasks.items()} == {
        "good": (TaskState.SUCCEEDED, True),
        "b": (TaskState.SUCCEEDED, True),
        "add": (TaskState.SUCCEEDED, 5),
    }
    ends = max(tasks["good"].finished_at_ms or 0, tasks["b"].finished_at_ms or 0)
    assert ends <= (tasks["add"].started_at_ms or 0)
    assert (await bench.event_types(run.run_id))[-1] == "run_succeeded"
    assert bench.published.of(RunFinished) == [RunFinished(run_id=run.run_id, state=RunState.SUCCEEDED)]


@pytest.mark.parametrize(("function", "error_type", "message"), [(bad, "ValueError", "no such thing"), (untrue, "ReturnedFalse", "False")])
async def test_an_exception_or_false_fails_the_task_and_the_run_and_skips_what_depends_on_it(
    bench: Bench, function: Any, error_type: str, message: str
) -> None:
    await bench.pod(good, function)
    run, tasks = await bench.run(
        {
            "tasks": {
                "first": {"task": function.__name__},
                "next": {"task": "good", "depends_on": ["first"]},
                "last": {"task": "good", "depends_on": ["next"]},
                "aside": {"task": "good"},
            }
        }
    )
    assert run.state is RunState.FAILED
    assert {task_id: task.state.value for task_id, task in tasks.items()} == {
        "first": "failed",
        "next": "skipped",
        "last": "skipped",
        "aside": "succeeded",
    }
    error: Any = tasks["first"].error
    assert error["type"] == error_type
    assert message in error["message"]
    assert tasks["next"].reason == "first did not succeed"
    assert tasks["last"].reason == "next did not succeed"
    assert bench.published.of(RunFinished) == [RunFinished(run_id=run.run_id, state=RunState.FAILED)]


async def test_a_failed_task_is_tried_again_by_a_timer_that_holds_no_slot(bench: Bench) -> None:
    async def flaky(ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise ConnectionError(f"attempt {ctx.attempt}")
        return ctx.attempt

    await bench.pod(flaky, good, concurrency=1)
    wait = {"initial": 0.3, "multiplier": 1, "jitter": 0}
    run_id = await bench.post(steps({"task": "flaky", "retry": {"max_attempts": 3, "wait": wait}}))

    async def waits() -> bool:
        return (await bench.task(run_id, "flaky")).state is TaskState.WAITING

    await wait_until_async(waits, "the task waits for its second attempt")
    other, _ = await bench.run(steps("good"))
    assert other.state is RunState.SUCCEEDED
    run, tasks = await bench.finished(run_id)
    assert run.state is RunState.SUCCEEDED
    assert (tasks["flaky"].result, tasks["flaky"].attempts) == (3, 3)
    assert [(entry.attempt, entry.ended_as) for entry in await bench.store.get_attempts(run_id, "flaky")] == [(1, "failed"), (2, "failed")]
    assert len(bench.published.of(RetryScheduled)) == 2


async def test_a_task_that_keeps_failing_stops_at_max_attempts(bench: Bench) -> None:
    await bench.pod(bad)
    run, tasks = await bench.run(steps({"task": "bad", "retry": {"max_attempts": 3, "wait": {"initial": 0.01, "jitter": 0}}}))
    assert (run.state, tasks["bad"].attempts) == (RunState.FAILED, 3)


async def test_a_task_that_makes_no_progress_fails_though_its_pod_lives_and_is_tried_again_as_retry_says(bench: Bench) -> None:
    async def hangs_once(ctx: TaskContext) -> int:
        ctx.heartbeat({"page": 7})
        if ctx.attempt == 1:
            await asyncio.sleep(600)
        return ctx.attempt

    await bench.pod(hangs_once)
    task = {"task": "hangs_once", "heartbeat_timeout": 0.1}
    retry = {"max_attempts": 2, "on": ["NoProgress"], "wait": {"initial": 0.01}}
    run, tasks = await bench.run(steps({**task, "retry": retry}))
    assert (run.state, tasks["hangs_once"].result, tasks["hangs_once"].lost) == (RunState.SUCCEEDED, 2, 0)
    run, tasks = await bench.run(steps({**task, "retry": {**retry, "on": ["TaskTimedOut"]}}))
    error: Any = tasks["hangs_once"].error
    assert (run.state, error["type"], tasks["hangs_once"].attempts) == (RunState.FAILED, "NoProgress", 1)
    assert '{"page": 7}' in error["message"]
    assert "for 0.1 s" in error["message"]


async def test_an_error_that_retry_does_not_name_is_not_tried_again(bench: Bench) -> None:
    await bench.pod(bad)
    run, tasks = await bench.run(steps({"task": "bad", "retry": {"max_attempts": 3, "on": ["ConnectionError"]}}))
    assert (run.state, tasks["bad"].attempts) == (RunState.FAILED, 1)


async def test_sleeping_holds_no_slot(bench: Bench) -> None:
    from scheduler.builtin import sleep

    await bench.pod(sleep, good, concurrency=1)
    sleeper = await bench.post(steps({"task": "sleep", "args": {"seconds": 0.5}}, "good"))

    async def sleeps() -> bool:
        return (await bench.task(sleeper, "sleep")).state is TaskState.WAITING

    await wait_until_async(sleeps, "the task sleeps")
    assert (await bench.run(steps("good")))[0].state is RunState.SUCCEEDED
    run, tasks = await bench.finished(sleeper)
    assert run.state is RunState.SUCCEEDED
    slept_ms = (tasks["sleep"].finished_at_ms or 0) - (tasks["sleep"].started_at_ms or 0)
    assert slept_ms >= 500


async def test_a_timeout_ends_async_code_and_abandons_a_thread(bench: Bench) -> None:
    ended = threading.Event()
    release = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    def stuck() -> str:
        release.wait(30)
        return "too late"

    await bench.pod(endless, stuck)
    run, tasks = await bench.run(
        {"tasks": {"a": {"task": "endless", "timeout": 0.2}, "b": {"task": "stuck", "timeout": 0.2}}},
    )
    assert ended.is_set()
    release.set()
    assert run.state is RunState.FAILED
    for task in tasks.values():
        error: Any = task.error
        assert (task.state, error["type"]) == (TaskState.FAILED, "TaskTimedOut")


async def test_a_failure_that_is_allowed_does_not_fail_the_run(bench: Bench) -> None:
    await bench.pod(good, bad)
    run, tasks = await bench.run({"tasks": {"may": {"task": "bad", "allow_failure": True}, "must": {"task": "good"}}})
    assert run.state is RunState.SUCCEEDED
    assert tasks["may"].state is TaskState.FAILED


async def test_on_failure_stop_ends_the_run_and_stops_what_runs(bench: Bench) -> None:
    stopped = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    await bench.pod(bad, endless)
    tasks = {"endless": {"task": "endless"}, "bad": {"task": "bad"}, "never": {"task": "bad", "depends_on": ["endless"]}}
    run, views = await bench.run({"tasks": tasks, "on_failure": "stop"})
    assert run.state is RunState.FAILED
    assert {task_id: task.state.value for task_id, task in views.items()} == {"endless": "cancelled", "bad": "failed", "never": "cancelled"}
    await asyncio.wait_for(stopped.wait(), 5)
    assert sum(run.counts.values()) == 3


async def test_cancelling_stops_running_code_and_starts_nothing_more(bench: Bench) -> None:
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    await bench.pod(endless, good)
    run_id = await bench.post(steps("endless", "good"))
    await asyncio.wait_for(started.wait(), 5)
    await bench.store.cancel(run_id)
    await asyncio.wait_for(stopped.wait(), 5)
    run, tasks = await bench.finished(run_id)
    assert run.state is RunState.CANCELLED
    assert {task.state for task in tasks.values()} == {TaskState.CANCELLED}
    assert (await bench.store.cancel(run_id)).state is RunState.CANCELLED

    async def nothing_held() -> bool:
        return sum(pod.running for pod in await bench.store.pods()) == 0

    await wait_until_async(nothing_held, "the claim of the stopped task is gone")


async def test_a_pod_runs_no_more_than_its_concurrency_at_once(bench: Bench) -> None:
    running, most = 0, 0

    async def counted() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    await bench.pod(counted, concurrency=3)
    run, _ = await bench.run(steps(*["counted"] * 20, kind="parallel"))
    assert run.state is RunState.SUCCEEDED
    assert most == 3


async def test_a_pod_leaves_tasks_alone_that_only_others_can_run(bench: Bench) -> None:
    await bench.pod(good)
    run_id = await bench.post({"tasks": {"mine": {"task": "good"}, "theirs": {"task": "add", "args": {"left": 1, "right": 1}}}})

    async def mine_is_done() -> bool:
        return (await bench.task(run_id, "mine")).state is TaskState.SUCCEEDED

    await wait_until_async(mine_is_done, "the pod has run its own task")
    assert (await bench.task(run_id, "theirs")).state is TaskState.READY
    await bench.pod(add)
    run, _ = await bench.finished(run_id)
    assert run.state is RunState.SUCCEEDED


async def test_a_queue_is_served_only_by_pods_that_name_it(bench: Bench) -> None:
    await bench.pod(good)
    run_id = await bench.post(steps({"task": "good", "queue": "gpu"}))
    assert (await bench.run(steps("good")))[0].state is RunState.SUCCEEDED
    assert (await bench.task(run_id, "good")).state is TaskState.READY
    await bench.pod(good, queues=("gpu",))
    assert (await bench.finished(run_id))[0].state is RunState.SUCCEEDED


async def test_two_thousand_roots_are_told_in_slices(bench: Bench) -> None:
    await bench.pod(good)
    run, _ = await bench.run(steps(*["good"] * 2000, kind="parallel"))
    assert run.counts[TaskState.SUCCEEDED] == 2000


async def test_failures_cascade_through_a_long_chain(bench: Bench) -> None:
    await bench.pod(good, bad)
    run, tasks = await bench.run(steps("bad", *["good"] * 300))
    assert run.state is RunState.FAILED
    assert run.counts[TaskState.SKIPPED] == 300
    assert {task.state for task_id, task in tasks.items() if task_id != "bad"} == {TaskState.SKIPPED}


async def test_a_pod_that_leaves_gives_back_what_runs_and_signs_off(bench: Bench) -> None:
    started = asyncio.Event()
    finish = asyncio.Event()

    async def held() -> str:
        started.set()
        await finish.wait()
        return "done"

    leaving = await bench.pod(held)
    run_id = await bench.post(steps("held"))
    await asyncio.wait_for(started.wait(), 5)
    started.clear()
    staying = await bench.pod(held)
    await leaving.drain(0.05)
    assert not leaving.readiness().ready
    await bench.stop(leaving)
    await asyncio.wait_for(started.wait(), 5)
    assert [pod.pod_id for pod in await bench.store.pods()] == [staying.who.pod_id]
    finish.set()
    run, tasks = await bench.finished(run_id)
    assert run.state is RunState.SUCCEEDED
    assert (tasks["held"].attempts, tasks["held"].lost) == (1, 0)


async def test_draining_lets_running_attempts_finish(bench: Bench) -> None:
    started = asyncio.Event()
    finish = asyncio.Event()

    async def held() -> str:
        started.set()
        await finish.wait()
        return "done"

    pod = await bench.pod(held)
    run_id = await bench.post(steps("held", "held"))
    await asyncio.wait_for(started.wait(), 5)
    draining = asyncio.create_task(pod.drain(10))
    await wait_until_async(lambda: not pod.readiness().ready, "the pod drains")
    finish.set()
    await asyncio.wait_for(draining, 5)
    assert (await bench.task(run_id, "held")).state is TaskState.SUCCEEDED
    assert (await bench.task(run_id, "held_2")).state is TaskState.READY
    await bench.stop(pod)
    await bench.pod(held)
    assert (await bench.finished(run_id))[0].state is RunState.SUCCEEDED


async def test_a_pod_whose_capabilities_storage_has_forgotten_tells_them_again(bench: Bench, server: Server) -> None:
    pod = await bench.pod(good)
    keys = bench.store.partitions[0].keys
    with connect(server.url) as client:
        assert client.delete(f"{keys.prefix}capabilities:{pod.who.capabilities_digest}") == 1
        client.rpush(keys.inbox(pod.who.pod_id), "ready")
    assert (await bench.run(steps("good")))[0].state is RunState.SUCCEEDED


async def test_heartbeats_that_meet_commits_on_the_way_report_no_lost_leases(bench: Bench) -> None:
    pod = await bench.pod(good, ttl_seconds=2)
    run_id = await bench.post(steps(*["good"] * 3000, kind="parallel"))

    async def ended() -> bool:
        pod.beat_now()
        return (await bench.store.get_run(run_id)).state.terminal

    await wait_until_async(ended, "the run has ended", 30)
    assert [event for event in bench.published.events if isinstance(event, LeaseLost | CommitRefused)] == []


async def test_ready_tasks_of_a_cancelled_run_leave_the_queue_though_no_pod_serves_them(bench: Bench, server: Server) -> None:
    await bench.pod(good)
    run_id = await bench.post(steps(*["add"] * 600, kind="parallel"))

    def lanes() -> list[str]:
        with connect(server.url) as client:
            return scan(client, f"{bench.store.partitions[0].keys.prefix}lane*")

    assert len(lanes()) == 2
    await bench.store.cancel(run_id)
    await wait_until_async(lambda: lanes() == [], "the ready queue is empty")
