"""deploy/k8s/e2e.sh does what it says, with a stand-in for kubectl whose pods are processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pods import ROOT
from tests.support.waiting import wait_until

SCRIPT = ROOT / "deploy" / "k8s" / "e2e.sh"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Machine:
    """A PATH on which kubectl is the stand-in, and the folder of its pods."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        (tools / "kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.support.fake_kubectl "$@"\n')
        (tools / "kubectl").chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FAKE_KUBECTL_STATE": str(self.state),
            "E2E_LAYER_SECONDS": "1",
            "E2E_TIMEOUT_SECONDS": "120",
        }

    def run(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(SCRIPT), *options]
        return subprocess.run(
            command, cwd=ROOT, env={**self.environment, **variables}, capture_output=True, text=True, timeout=280, check=False
        )

    def calls(self) -> list[str]:
        return (self.state / "calls").read_text().splitlines()

    def processes(self) -> list[int]:
        path = self.state / "pods.json"
        pods: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        return [pod["pid"] for pod in pods.values() if is_peerflow(pod["pid"])]

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not self.processes(), "the pods have ended", 20)


def is_peerflow(process: int) -> bool:
    try:
        return b"peerflow.cli" in (Path("/proc") / str(process) / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def fake(tmp_path: Path) -> Generator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_a_thousand_tasks_outlive_pods_that_are_deleted_redis_too_and_a_rolling_restart(fake: Machine) -> None:
    done = fake.run("--redis")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 tasks have succeeded, each once" in done.stdout
    assert "\nPASSED\n" in done.stdout
    posted, checked = re.findall(r"(?:posted to|checked through) (\S+)\n", done.stdout)[-2:]
    assert posted != checked
    calls = [call.removeprefix("--namespace peerflow ") for call in fake.calls()]
    deletions = [call for call in calls if call.startswith("delete pod")]
    assert deletions[0] == f"delete pod {posted} --grace-period=0 --force --wait=false"
    assert re.fullmatch(r"delete pod \S+ --wait=false", deletions[1])
    assert deletions[2] == "delete pod peerflow-redis-0"
    assert calls.index("rollout restart deployment/peerflow") > calls.index(deletions[1])
    assert calls[-1].startswith("delete namespace peerflow")
    wait_until(lambda: not fake.processes(), "nothing is left", 60)


@pytest.mark.long
def test_a_task_that_does_not_succeed_makes_the_script_fail_and_what_there_is_is_removed(fake: Machine, tmp_path: Path) -> None:
    tasks: dict[str, object] = {f"t{number}": {"task": "sleep", "args": {"seconds": number / 20}} for number in range(300)}
    tasks["broken"] = {"task": "fails_once", "depends_on": ["t0"], "allow_failure": True}
    definition = tmp_path / "fails.json"
    definition.write_text(json.dumps({"tasks": tasks}))
    done = fake.run(str(definition), PEERFLOW_TASKS="tests.support.pod_tasks")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken is failed" in done.stdout
    assert "FAILED: the result" in done.stderr
    assert fake.calls()[-1].startswith("delete namespace peerflow")


def test_a_definition_that_pods_refuse_is_told_with_their_reason(fake: Machine, tmp_path: Path) -> None:
    definition = tmp_path / "wrong.json"
    definition.write_text(json.dumps({"tasks": {"a": {"task": "nobody_has_this"}}}))
    done = fake.run("--keep", str(definition))
    assert done.returncode == 1
    assert "nobody_has_this" in done.stderr
    assert not any("delete namespace" in call for call in fake.calls())


def test_a_namespace_that_exists_is_left_alone(fake: Machine) -> None:
    (fake.state / "pods.json").write_text(json.dumps({"peerflow-0": {"pid": 1, "port": 1, "leaves": True}}))
    done = fake.run()
    assert done.returncode == 1
    assert "the namespace peerflow exists" in done.stderr
    assert not any("delete" in call or "apply" in call for call in fake.calls())


@pytest.mark.parametrize(("options", "said"), [(["--kep"], "unknown option"), (["nowhere.json"], "cannot be read")])
def test_what_the_script_is_told_must_make_sense(options: list[str], said: str, fake: Machine) -> None:
    done = fake.run(*options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (fake.state / "calls").exists()


def test_help_is_the_scripts_first_comment(fake: Machine) -> None:
    done = fake.run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Tries an installation")
    assert "--existing" in done.stdout
    assert "set -euo" not in done.stdout
