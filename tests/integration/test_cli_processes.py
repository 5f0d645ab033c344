"""The command line as its own process: pods started together, a watched run whose pod dies, the demonstration of `make run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from examples.generate import bwa
from peerflow.client import Client
from tests.support.pods import ROOT, free_port
from tests.support.supervised import is_ready, pod_is_ready, pods_of
from tests.support.waiting import wait_until

Started = subprocess.Popen[str]
Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Starts `peerflow …` with a data directory of the test's own; its output goes to pipes."""
    environment = {
        **os.environ,
        "PEERFLOW_DATA_DIR": str(tmp_path / "data"),
        "PEERFLOW_LEASE_TTL_SECONDS": "2",
        "PEERFLOW_GRACE_SECONDS": "5",
    }
    environment.pop("PEERFLOW_URL", None)
    started: list[Started] = []

    def run(*arguments: str) -> Started:
        process = subprocess.Popen(
            [sys.executable, "-m", "peerflow.cli", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def start_two_pods(start: Start) -> tuple[Started, str]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    parent = start("serve", "--pods", "2", "--port", str(port), "--tasks", "examples.wfformat_tasks")

    def both_are_ready() -> bool:
        return sum(pod_is_ready(socket) for socket in pods_of(parent.pid).values()) == 2

    wait_until(lambda: both_are_ready() or parent.poll() is not None, "two pods are ready", 30)
    assert parent.poll() is None
    return parent, url


def test_watched_run_succeeds_although_a_pod_dies(start: Start, tmp_path: Path) -> None:
    parent, url = start_two_pods(start)
    file = tmp_path / "bwa.json"
    file.write_text(json.dumps(bwa(width=200, seconds=0.5)))
    watching = start("submit", str(file), "--watch", "--url", url)
    with Client(url) as client:
        assert watching.stdout is not None
        run_id = watching.stdout.readline().split()[1]
        wait_until(lambda: client.run(run_id).done >= 2, "the run is under way")
    os.kill(min(pods_of(parent.pid)), signal.SIGKILL)
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, out + err
    assert "succeeded: 204 tasks: 204 succeeded" in out


def test_pods_stop_when_their_parent_is_asked_to(start: Start) -> None:
    parent, url = start_two_pods(start)
    assert len(pods_of(parent.pid)) == 2
    parent.send_signal(signal.SIGINT)
    err = parent.communicate(timeout=30)[1]
    assert parent.returncode == 0, err
    assert "stopping 2 pods" in err
    assert not is_ready(url)


def test_pods_stop_when_their_parent_is_killed(start: Start) -> None:
    parent, url = start_two_pods(start)
    parent.kill()
    wait_until(lambda: not is_ready(url), "both pods have stopped", 30)


def test_demonstration_shows_the_example_and_goes_on_serving(start: Start) -> None:
    port = free_port()
    demo = start("serve", "--demo", "--port", str(port))
    assert demo.stdout is not None
    lines: list[str] = []
    for line in demo.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C stops it"):
            break
    text = "".join(lines)
    assert "succeeded: 3 tasks: 3 succeeded" in text, text
    assert all(f"Running task {name}" in text for name in "ABC")
    assert is_ready(f"http://127.0.0.1:{port}")

    second = start("serve", "--demo", "--port", str(port))
    assert f"a peerflow pod already serves http://127.0.0.1:{port}" in second.communicate(timeout=30)[1]
    assert second.returncode == 2

    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=30)
    assert demo.returncode == 0
    assert not is_ready(f"http://127.0.0.1:{port}")


def test_doctor_finds_the_embedded_server_good(start: Start) -> None:
    doctor = start("doctor", "--json")
    out, err = doctor.communicate(timeout=30)
    assert doctor.returncode == 0, out + err
    report = json.loads(out)
    verdicts = {check["subject"]: check["verdict"] for check in report["checks"]}
    assert {verdicts[name] for name in ("redis", "server", "persistence", "eviction")} == {"ok"}
    assert {"name": "PEERFLOW_GRACE_SECONDS", "value": "5.0", "source": "environment"} in report["settings"]


def test_doctor_says_which_server_does_not_answer(start: Start) -> None:
    port = free_port()
    doctor = start("doctor", "--redis-url", f"redis://:secret@127.0.0.1:{port}/0")
    out, err = doctor.communicate(timeout=30)
    assert doctor.returncode == 1
    assert f"redis://127.0.0.1:{port}" in out
    assert "secret" not in out + err
