"""Code of users does its worst (F22): the task fails with a clear error, and the pod goes on."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

from tests.chaos.test_pods_die import assert_each_task_ended_once
from tests.support.child_processes import is_alive, numbers_in
from tests.support.pods import Cluster, PodProcess
from tests.support.waiting import wait_until

FAILURES: dict[str, tuple[str, str]] = {
    "raises": ("ValueError", "not today"),
    "returns_false": ("ReturnedFalse", ""),
    "too_large": ("ResultTooLarge", "262144"),
    "not_a_number": ("InvalidResult", "float values"),
    "cyclic": ("InvalidResult", ""),
    "no_json": ("InvalidResult", "object"),
    "exits": ("SystemExit", "3"),
    "exits_async": ("SystemExit", "3"),
    "interrupts": ("KeyboardInterrupt", ""),
    "interrupts_async": ("KeyboardInterrupt", ""),
    "swallows_cancellation": ("TaskTimedOut", "0.5"),
    "never_ends": ("TaskTimedOut", "0.5"),
    "never_ends_in_a_process": ("TaskTimedOut", "0.5"),
    "kills_its_process": ("", "7"),
}
"""Function → type of its error, and what its message says."""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Generator[PodProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    cluster = Cluster(folder, tasks="tests.support.pod_tasks,tests.support.hostile_tasks", processes="1")
    try:
        [pod] = cluster.start(1)
        yield pod
    finally:
        (folder / "over").touch()
        cluster.close()


def run_one(pod: PodProcess, task: dict[str, Any]) -> dict[str, Any]:
    """The task's status, after a healthy task beside it has succeeded in the same pod as before."""
    pod_id = pod.pod_id
    run_id = pod.post({"tasks": {"worst": {"timeout": 30, **task}, "healthy": {"task": "noop"}}})
    status = pod.wait_until_finished(run_id)
    worst, healthy = sorted(status["tasks"], key=lambda view: view["id"] != "worst")
    assert healthy["status"] == "succeeded"
    assert pod.pod_id == pod_id
    assert pod.is_ready()
    assert (worst["attempts"], worst["lost"]) == (1, 0)
    return worst


@pytest.mark.parametrize("function", FAILURES)
def test_what_code_does_wrong_fails_its_task_alone(pod: PodProcess, function: str) -> None:
    limit = {"timeout": 0.5} if FAILURES[function][1] == "0.5" else {}
    note = {"args": {"note": "pid"}} if function == "never_ends_in_a_process" else {}
    worst = run_one(pod, {"task": function, **limit, **note})
    kind, text = FAILURES[function]
    assert worst["status"] == "failed"
    assert kind in worst["error"]["type"]
    assert text in worst["error"]["message"].lower()
    if note:
        [pid] = numbers_in(pod.log.parent / "pid")
        wait_until(lambda: not is_alive(pid), "the child process is gone")


def test_a_task_that_forks_makes_no_second_pod(pod: PodProcess) -> None:
    worst = run_one(pod, {"task": "forks"})
    assert worst["result"] == "the copy ended with 0"


def test_of_a_hundred_thousand_log_lines_each_is_written_or_counted_as_dropped(pod: PodProcess) -> None:
    worst = run_one(pod, {"task": "shouts", "args": {"lines": 100_000}, "timeout": 60})
    assert worst["result"] == 100_000

    def told_of() -> int:
        run_one(pod, {"task": "raises"})  # another line, behind which the number of those that were dropped is written
        log = pod.log.read_text()
        return log.count('"message":"line ') + sum(int(number) for number in re.findall(r'"(\d+) lines were dropped', log))

    wait_until(lambda: told_of() >= 100_000, "all lines are told of", 30)


def test_after_all_of_it_an_ordinary_run_is_as_it_should_be(pod: PodProcess) -> None:
    run_id = pod.post({"steps": [{"type": "parallel", "tasks": ["noop", "noop"]}, {"type": "sequential", "tasks": ["noop"]}]})
    assert_each_task_ended_once(pod, run_id, pod.wait_until_finished(run_id))
