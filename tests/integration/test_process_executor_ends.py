"""How process functions end: each attempt is reported once, and nothing that was started is left."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from pydantic import JsonValue

from engine.outcome import Failed
from scheduler.attempt import Attempt
from scheduler.worker import Worker
from tests.support import process_tasks
from tests.support.attempts import Workbench, an_attempt, workbench
from tests.support.child_processes import hold_the_loop, is_alive, numbers_in, pids_noted, start
from tests.support.waiting import wait_until, wait_until_async


@pytest_asyncio.fixture
async def bench() -> AsyncGenerator[Workbench]:
    async with workbench(result_bytes=256 * 1024) as bench:
        yield bench


async def test_a_timeout_kills_the_process_and_all_that_it_has_started(bench: Workbench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    start(bench, process_tasks.naps, {"seconds": 0})
    attempt = start(bench, process_tasks.hangs, {"note": str(note)}, timeout_seconds=1)
    failed = await bench.failure(attempt)
    assert failed.error.type == "TaskTimedOut"
    for pid in await pids_noted(note):
        await wait_until_async(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"


async def test_a_process_that_ends_while_its_timeout_fires_has_succeeded_and_is_used_again(bench: Workbench, tmp_path: Path) -> None:
    before = await bench.result(start(bench, process_tasks.pid))
    note, go, gone = tmp_path / "note", tmp_path / "go", tmp_path / "gone"

    def let_it_end() -> None:
        go.touch()
        wait_until(gone.exists, "the end of the function")
        hold_the_loop(0.1)  # for its result to be in the pipe

    attempt = start(bench, process_tasks.waits_for, {"path": str(go), "note": str(note), "last": str(gone)}, timeout_seconds=0.3)
    asyncio.get_running_loop().call_later(0.29, let_it_end)
    # Both timers are due when the loop looks next, so that the result comes after that look and before the timeout fires.
    hold_the_loop(0.4)
    assert await bench.result(attempt) == '"saw it"'
    assert await bench.result(start(bench, process_tasks.pid)) == before


async def test_a_result_that_was_sent_before_the_process_died_counts(bench: Workbench) -> None:
    before = int(await bench.result(start(bench, process_tasks.pid)))
    attempt = start(bench, process_tasks.dies_after_its_end)
    wait_until(lambda: not is_alive(before), "the child's end")
    hold_the_loop(0.1)
    assert await bench.result(attempt) == '"ended"'
    assert int(await bench.result(start(bench, process_tasks.pid))) != before


async def test_what_a_dead_process_has_started_goes_with_it_even_while_the_loop_is_blocked(bench: Workbench, tmp_path: Path) -> None:
    await bench.outcome(start(bench, process_tasks.pid))
    note = tmp_path / "note"
    attempt = start(bench, process_tasks.leaves_a_process_behind, {"note": str(note)})
    [pid] = wait_until(lambda: numbers_in(note), "the note with the process id")
    wait_until(lambda: not is_alive(pid), "the end of the process left behind")
    assert (await bench.failure(attempt)).error.type == "ProcessDied"


async def test_signs_of_life_from_an_attempt_that_has_ended_do_not_count_for_the_next(bench: Workbench, tmp_path: Path) -> None:
    await bench.outcome(start(bench, process_tasks.leaves_a_thread_behind))
    attempt = start(bench, process_tasks.naps, {"seconds": 0.4})
    seen = attempt.progress_seen
    await bench.outcome(attempt)
    assert (attempt.progress, attempt.progress_seen) == (None, seen)


async def test_a_process_that_says_nothing_for_its_heartbeat_timeout_is_killed(bench: Workbench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    attempt = start(bench, process_tasks.hangs, {"note": str(note)}, heartbeat_timeout_seconds=1)
    failure = await bench.failure(attempt)
    assert (failure.error.type, failure.retryable) == ("NoProgress", True)
    for pid in await pids_noted(note):
        await wait_until_async(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"


async def test_a_process_that_says_that_it_moves_goes_on_also_while_the_loop_cannot_hear_it(bench: Workbench, tmp_path: Path) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    attempt = start(bench, process_tasks.waits_for, {"path": str(go), "note": str(note)}, heartbeat_timeout_seconds=1)
    await pids_noted(note)
    hold_the_loop(1.5)
    begin = time.monotonic()
    await wait_until_async(lambda: time.monotonic() > begin + 1.2, "more time than it may be silent")
    go.touch()
    assert await bench.result(attempt) == '"saw it"'


@pytest.mark.parametrize(("heartbeat_timeout", "expected"), [(None, 0.1), (30, 0.1), (0.1, 0.025)])
async def test_a_child_is_told_to_show_four_signs_of_life_within_its_heartbeat_timeout_and_ten_a_second_at_most(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, heartbeat_timeout: float | None, expected: float
) -> None:
    sent: list[dict[str, Any]] = []
    send = Worker.send

    def noted(worker: Worker, message: dict[str, Any]) -> None:
        sent.append(message)
        send(worker, message)

    monkeypatch.setattr(Worker, "send", noted)
    await bench.outcome(start(bench, process_tasks.echoes, {"value": 1}, heartbeat_timeout_seconds=heartbeat_timeout))
    assert [message["beat_seconds"] for message in sent if message["op"] == "run"] == [expected]


async def test_a_timeout_as_short_as_it_can_be_waits_for_a_child(bench: Workbench) -> None:
    failure = await bench.failure(start(bench, process_tasks.naps, {"seconds": 60}, timeout_seconds=0.001))
    assert failure.error.type == "TaskTimedOut"


async def test_a_stop_kills_the_process_and_nothing_is_reported(bench: Workbench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    attempt = start(bench, process_tasks.hangs, {"note": str(note)})
    pids = await pids_noted(note)
    bench.executor.stop(attempt.claim_id)
    for pid in pids:
        await wait_until_async(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"
    assert bench.outcomes(attempt) == []


def test_children_and_what_they_started_die_with_a_pod_that_is_killed(tmp_path: Path) -> None:
    program = """
        import asyncio, sys
        from scheduler.attempt import Attempt
        from scheduler.executor import Executor
        from scheduler.registry import Registry
        from tests.support.process_tasks import hangs

        async def main():
            registry = Registry()
            registry.register(hangs, executor="process")
            executor = Executor(registry, "pod", on_done=print)
            executor.start(Attempt("run", 0, "task", "hangs", {"note": sys.argv[1]}, 1, 0, 1, "claim"))
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    note = tmp_path / "note"
    pod = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(note)])
    try:
        wait_until(note.exists, "the note with the process ids", timeout=20)
        pids = [int(pid) for pid in note.read_text().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
    finally:
        pod.kill()
        pod.wait()
    for pid in pids:
        wait_until(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_random_ends_timeouts_stops_and_deaths_give_one_report_each_and_none_after_a_stop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(try_random_ends(random.Random(7)))


async def try_random_ends(dice: random.Random) -> None:
    async with workbench(processes=2) as bench:
        await bench.outcome(start(bench, process_tasks.pid))
        loop = asyncio.get_running_loop()
        bench.add(process_tasks.naps, executor="process")
        bench.add(process_tasks.leaves, executor="process")
        stopped_unreported: set[str] = set()
        started: list[Attempt] = []

        def stop(attempt: Attempt) -> None:
            if attempt.claim_id in bench.executor.running:
                stopped_unreported.add(attempt.claim_id)
            bench.executor.stop(attempt.claim_id)

        for _ in range(60):
            dies = dice.random() < 0.1
            args: dict[str, JsonValue] = {"code": 1} if dies else {"seconds": dice.choice([0.0, 0.002, 0.005])}
            attempt = an_attempt("leaves" if dies else "naps", args, dice.choice([None, None, 0.002, 0.005]))
            started.append(attempt)
            bench.executor.start(attempt)
            if dice.random() < 0.2:
                loop.call_later(dice.choice([0.0, 0.01, 0.5]), stop, attempt)
        await wait_until_async(lambda: not bench.executor.running, "the end of all attempts", timeout=60)
        begin = time.monotonic()
        await bench.outcome(start(bench, process_tasks.pid))
        assert time.monotonic() - begin < 20
        times = Counter(claim_id for claim_id, _ in bench.reports)
        for attempt in started:
            assert times[attempt.claim_id] == (0 if attempt.claim_id in stopped_unreported else 1), attempt
        kinds = {outcome.error.type for _, outcome in bench.reports if isinstance(outcome, Failed)}
        assert kinds == {"TaskTimedOut", "ProcessDied"}
