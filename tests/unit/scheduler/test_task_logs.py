"""The loop that sends lines to storage: batches, repeats, what happens while storage is away, and what it must not hold up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from engine.errors import StorageCorrupt, StorageRefused, StorageUnavailable
from scheduler.context import TaskContext
from scheduler.task_logs import TaskLogs
from storage.partition import Partition
from storage.task_logs import BATCHES_PER_CALL, Batch, LogCaps
from tests.support.waiting import wait_until_async


class Storage:
    """A partition that keeps what it is told, unless it is failing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Batch]]] = []
        self.failing: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def append_log(self, run_id: str, pod_id: str, batches: Sequence[Batch], caps: LogCaps) -> list[str]:
        assert (pod_id, caps.lines) == ("pod", 100)
        self.calls.append((run_id, list(batches)))
        await self.answers.wait()
        if self.failing is not None:
            raise self.failing
        return ["OK"] * len(batches)

    def texts(self, run_id: str = "run") -> list[str]:
        return [row[2] for run, batches in self.calls if run == run_id for batch in batches for row in json.loads(batch.body)]


def context(number: int = 1, run_id: str = "run") -> TaskContext:
    return TaskContext(run_id=run_id, task_id=f"t{number}", claim_id=f"{run_id}-{number}", index=number, attempt=2)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
async def logs(storage: Storage) -> TaskLogs:
    return TaskLogs(lambda _: cast(Partition, storage), "pod", LogCaps(lines=100))


@pytest.fixture
async def running(logs: TaskLogs) -> AsyncGenerator[TaskLogs]:
    task = asyncio.create_task(logs.run())
    yield logs
    task.cancel()


async def test_lines_reach_storage_while_the_attempt_runs(running: TaskLogs, storage: Storage) -> None:
    running.write(context(), "stdout", "one\ntwo\n")
    running.log(context(), "three", "warning", "shop")
    await wait_until_async(lambda: storage.calls, "a call")
    [(run_id, [batch])] = storage.calls
    assert (run_id, batch.index, batch.attempt, batch.lines, batch.dropped) == ("run", 1, 2, 3, 0)
    assert [row[1:] for row in json.loads(batch.body)] == [[0, "one"], [0, "two"], [2, "three", "warning", "shop"]]


async def test_an_attempt_that_has_ended_sends_what_it_has_without_the_end_of_a_line(running: TaskLogs, storage: Storage) -> None:
    running.write(context(), "stdout", "no end")
    running.ended(context().claim_id)
    await wait_until_async(lambda: storage.texts() == ["no end"], "the line")


async def test_lines_from_other_threads_wake_the_loop(running: TaskLogs, storage: Storage) -> None:
    await asyncio.to_thread(running.write, context(), "stdout", "from a thread\n")
    await wait_until_async(lambda: storage.texts() == ["from a thread"], "the line")


async def test_attempts_of_a_run_share_calls_and_those_of_other_runs_have_their_own(logs: TaskLogs, storage: Storage) -> None:
    for number in range(BATCHES_PER_CALL + 1):
        logs.write(context(number), "stdout", "x\n")
    logs.write(context(1, "other"), "stdout", "y\n")
    assert await logs.flush()
    assert [(run_id, len(batches)) for run_id, batches in storage.calls] == [("run", 64), ("run", 1), ("other", 1)]


async def test_nothing_is_sent_for_attempts_that_print_nothing(logs: TaskLogs, storage: Storage) -> None:
    logs.ended("unknown")
    assert await logs.flush()
    await logs.close()
    assert storage.calls == []


@pytest.mark.parametrize("error", [StorageUnavailable("redis", "away"), StorageRefused("OOM")])
async def test_while_storage_is_away_the_same_batch_is_sent_again_and_newer_lines_are_bounded(
    logs: TaskLogs, storage: Storage, error: Exception
) -> None:
    storage.failing = error
    logs.write(context(), "stdout", "first\n")
    assert not await logs.flush()
    for number in range(1_000):
        logs.write(context(), "stdout", f"{number}\n")
    assert not await logs.flush()
    storage.failing = None
    assert await logs.flush()
    first, second, third = (batches[0] for _, batches in storage.calls)
    assert first == second == third
    assert await logs.flush()
    last = storage.calls[-1][1][0]
    assert (last.lines, last.dropped) == (100, 900)
    assert last.op != first.op


async def test_what_storage_cannot_take_is_not_sent_for_ever(logs: TaskLogs, storage: Storage) -> None:
    storage.failing = StorageCorrupt("WRONGTYPE")
    logs.write(context(), "stdout", "x\n")
    with pytest.raises(StorageCorrupt):
        await logs.flush()
    storage.failing = None
    assert await logs.flush()
    assert len(storage.calls) == 1


async def test_a_large_amount_goes_in_pieces(logs: TaskLogs, storage: Storage) -> None:
    for _ in range(50):
        logs.write(context(), "stdout", "x" * 10_000 + "\n")
    while logs.waiting:
        assert await logs.flush()
    sizes = [len(batches[0].body) for _, batches in storage.calls]
    assert max(sizes) < 140_000
    assert len(storage.texts()) == 50


async def test_code_that_prints_never_waits_for_storage(running: TaskLogs, storage: Storage) -> None:
    storage.answers.clear()
    running.write(context(), "stdout", "x\n")
    await wait_until_async(lambda: storage.calls, "a call that hangs")
    for number in range(1_000):
        running.write(context(), "stdout", f"{number}\n")
    running.ended(context().claim_id)
    assert len(storage.calls) == 1
    storage.answers.set()
    await wait_until_async(lambda: "999" in storage.texts(), "the newest line")


async def test_the_end_of_the_pod_sends_what_is_left(logs: TaskLogs, storage: Storage) -> None:
    logs.write(context(), "stdout", "the end")
    await logs.close()
    assert storage.texts() == ["the end"]


async def test_the_end_of_the_pod_does_not_wait_long_for_storage_that_is_away(
    logs: TaskLogs, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.task_logs.CLOSE_SECONDS", 0.05)
    storage.failing = StorageUnavailable("redis", "away")
    logs.write(context(), "stdout", "x\n")
    await logs.close()


async def test_all_attempts_of_a_pod_share_what_it_may_hold(logs: TaskLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.task_logs.POD_BYTES", 1_000_000)
    caps = LogCaps(lines=100_000, size=1_000_000)
    big = TaskLogs(cast(Any, None), "pod", caps)
    for number in range(100):
        big.write(context(number), "stdout", "".join("x" * 1_000 + "\n" for _ in range(500)))
    assert big.waiting == 100
    assert big.held_bytes < 10_000_000
