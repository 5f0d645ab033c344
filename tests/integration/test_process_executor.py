"""Process functions: real child processes, killed, dying, lying, outliving nobody."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import JsonValue

from engine.outcome import Succeeded
from scheduler import processes
from scheduler.worker import Owner, Worker
from tests.support import process_tasks
from tests.support.attempts import Workbench, workbench
from tests.support.child_processes import is_alive, pids_noted, start
from tests.support.waiting import wait_until_async


@pytest_asyncio.fixture
async def bench() -> AsyncGenerator[Workbench]:
    async with workbench(result_bytes=256 * 1024) as bench:
        yield bench


async def test_a_child_is_started_when_needed_and_used_again(bench: Workbench) -> None:
    first = await bench.result(start(bench, process_tasks.pid))
    assert int(first) != os.getpid()
    assert await bench.result(start(bench, process_tasks.pid)) == first


async def test_several_children_work_at_once_up_to_the_limit(tmp_path: Path) -> None:
    async with workbench(processes=2) as bench:
        args: dict[str, JsonValue] = {"folder": str(tmp_path), "others": 2}
        both = [await bench.result(attempt) for attempt in [start(bench, process_tasks.meets, args) for _ in range(2)]]
        assert len(set(both)) == 2
        more = [await bench.result(attempt) for attempt in [start(bench, process_tasks.pid) for _ in range(6)]]
        assert set(more) <= set(both)


async def test_arguments_are_read_in_the_child_as_the_annotations_ask(bench: Workbench) -> None:
    assert await bench.result(start(bench, process_tasks.decorated, {"day": "2026-01-31"})) == '"31.01.2026"'
    refused = await bench.failure(start(bench, process_tasks.decorated, {"day": "soon"}))
    assert (refused.error.type, refused.retryable) == ("InvalidArguments", False)


async def test_what_a_child_prints_comes_out_of_the_pod(bench: Workbench, capfd: pytest.CaptureFixture[str]) -> None:
    await bench.outcome(start(bench, process_tasks.prints, {"text": "hello from the child"}))
    assert capfd.readouterr().out == "hello from the child\n"


async def test_an_exception_comes_back_with_text_traceback_and_class_names(bench: Workbench) -> None:
    failed = await bench.failure(start(bench, process_tasks.raises))
    assert (failed.error.type, failed.error.message) == ("ConnectionRefusedError", "not today")
    assert failed.error.traceback is not None
    assert failed.error.traceback.splitlines()[1].endswith("in raises")
    assert "builtins.OSError" in failed.mro


async def test_sys_exit_fails_the_attempt_and_the_child_lives_on(bench: Workbench) -> None:
    before = await bench.result(start(bench, process_tasks.pid))
    assert (await bench.failure(start(bench, process_tasks.exits))).error.type == "SystemExit"
    assert await bench.result(start(bench, process_tasks.pid)) == before


@pytest.mark.parametrize(
    ("function", "args", "words"), [(process_tasks.leaves, {"code": 3}, "exit code 3"), (process_tasks.crashes, {}, "signal 11 (SIGSEGV)")]
)
async def test_the_death_of_a_child_fails_its_attempt_and_the_next_has_another(
    bench: Workbench, function: Callable[..., None], args: dict[str, JsonValue], words: str
) -> None:
    before = await bench.result(start(bench, process_tasks.pid))
    failed = await bench.failure(start(bench, function, args))
    assert (failed.error.type, failed.retryable) == ("ProcessDied", True)
    assert words in failed.error.message
    assert await bench.result(start(bench, process_tasks.pid)) != before


async def test_an_idle_child_that_is_killed_is_replaced(bench: Workbench) -> None:
    before = int(await bench.result(start(bench, process_tasks.pid)))
    os.kill(before, signal.SIGKILL)
    await wait_until_async(lambda: not is_alive(before), "the child's end")
    outcomes = [await bench.outcome(start(bench, process_tasks.pid)) for _ in range(2)]
    # The pod may not know yet when it sends the first; it must by the second.
    assert isinstance(outcomes[1], Succeeded)
    assert outcomes[1].result_json != str(before)


async def test_an_async_function_has_a_loop_of_its_own_in_the_child(bench: Workbench) -> None:
    attempt = start(bench, process_tasks.awaits)
    assert await bench.result(attempt) == f'"{attempt.task_id}"'


async def test_arguments_and_results_larger_than_a_pipe_holds_arrive(bench: Workbench) -> None:
    text = "é" * 100_000
    assert await bench.result(start(bench, process_tasks.echoes, {"value": text})) == f'"{text}"'


async def test_a_result_beyond_the_limit_is_refused_in_the_child(bench: Workbench) -> None:
    failed = await bench.failure(start(bench, process_tasks.long_text, {"size": 10**7}))
    assert (failed.error.type, failed.retryable) == ("ResultTooLarge", False)


async def test_an_attempt_stopped_while_it_waits_for_a_child_never_runs(bench: Workbench, capfd: pytest.CaptureFixture[str]) -> None:
    start(bench, process_tasks.naps, {"seconds": 0.05})
    waiting = start(bench, process_tasks.prints, {"text": "ran"})
    bench.executor.stop(waiting.claim_id)
    await bench.outcome(start(bench, process_tasks.pid))
    assert capfd.readouterr().out == ""
    assert bench.outcomes(waiting) == []


async def test_the_time_that_a_child_needs_to_start_is_not_the_attempt_s(bench: Workbench) -> None:
    # A child imports for far longer than this.
    assert await bench.result(start(bench, process_tasks.naps, {"seconds": 0}, timeout_seconds=0.05)) == "null"


async def test_heartbeats_reach_the_pod_and_signals_do_not_reach_the_task(bench: Workbench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    attempt = start(bench, process_tasks.waits_for, {"path": str(tmp_path / "go"), "note": str(note)})
    [pid] = await pids_noted(note)
    await wait_until_async(lambda: attempt.progress == {"pid": pid}, "the first sign of life")
    first = attempt.progress_seen
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)  # as Ctrl-C does to all of a terminal's processes; the pod decides what happens to the attempt
    await wait_until_async(lambda: attempt.progress_seen > first, "the next sign of life")
    (tmp_path / "go").touch()
    assert await bench.result(attempt) == '"saw it"'


async def test_progress_that_is_not_json_is_left_out(bench: Workbench) -> None:
    attempt = start(bench, process_tasks.beats_something_unspeakable)
    seen = attempt.progress_seen
    assert await bench.result(attempt) == '"lived"'
    assert attempt.progress is None
    assert attempt.progress_seen > seen


@pytest.mark.parametrize("function", [process_tasks.writes_nonsense, process_tasks.closes_everything])
async def test_a_child_that_spoils_its_pipes_is_killed_and_its_attempt_fails(bench: Workbench, function: Callable[[], None]) -> None:
    assert (await bench.failure(start(bench, function))).error.type == "ProcessDied"
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"


async def test_a_function_that_forks_and_lets_the_copy_return_ends_once(bench: Workbench) -> None:
    assert await bench.result(start(bench, process_tasks.forks)) == '"the copy ended with 0"'
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"
    assert len(bench.reports) == 2


async def test_the_child_s_environment_is_the_pod_s(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/as/the/user/set/it")
    assert await bench.result(start(bench, process_tasks.python_path)) == '"/as/the/user/set/it"'


async def test_a_function_whose_module_the_child_cannot_import_fails_with_that_error(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_tasks.pid, "__module__", "nowhere.to.be.found")
    failed = await bench.failure(start(bench, process_tasks.pid))
    assert failed.error.type == "ModuleNotFoundError"


@pytest.mark.parametrize("executable", ["/does/not/exist", "/bin/false"])
async def test_children_that_cannot_start_fail_one_attempt_each_and_are_not_started_for_ever(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", executable)
        attempts = [start(bench, process_tasks.pid) for _ in range(2)]
        for attempt in attempts:
            assert (await bench.failure(attempt)).error.type == "ProcessDied"
    assert isinstance(await bench.outcome(start(bench, process_tasks.pid)), Succeeded)


async def test_closing_starts_no_child_for_attempts_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Worker] = []

    class CountedWorker(Worker):
        def __init__(self, owner: Owner, hello: dict[str, Any]) -> None:
            started.append(self)
            super().__init__(owner, hello)

    monkeypatch.setattr(processes, "Worker", CountedWorker)
    async with workbench(processes=1) as bench:
        await bench.outcome(start(bench, process_tasks.pid))
        for _ in range(3):
            start(bench, process_tasks.naps, {"seconds": 600})
    assert len(started) == 1
    assert len(bench.reports) == 1


async def test_a_working_directory_with_folders_named_as_ours_does_not_confuse_a_child(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("engine", "scheduler", "storage"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert await bench.result(start(bench, process_tasks.echoes, {"value": 1})) == "1"


async def test_closing_leaves_no_process_and_no_open_pipe(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = open_files()
    async with workbench(processes=2) as bench:
        pid = int(await bench.result(start(bench, process_tasks.pid)))
        note = tmp_path / "note"
        busy = start(bench, process_tasks.hangs, {"note": str(note)})
        pids = [pid, *await pids_noted(note)]
        assert open_files() > before
    for pid in pids:
        await wait_until_async(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")
    assert bench.outcomes(busy) == []
    assert open_files() == before
