"""`docker compose up --build` as the README says: Redis, three pods, and pods that die."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.generate import bwa
from tests.support.servers import IN_CI
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PODS = ("peerflow-0", "peerflow-1", "peerflow-2")
PROJECT = "peerflow-e2e"
# Free ports instead of 8000 to 8002, so that the test does not meet a stack that somebody works with.
OVERRIDE = "services:\n" + "".join(f'  {pod}:\n    ports: !override ["127.0.0.1:0:8000"]\n' for pod in PODS)

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]


class Stack:
    """The compose stack, with the tasks that stand for recorded programs."""

    def __init__(self, folder: Path) -> None:
        override = folder / "ports.yml"
        override.write_text(OVERRIDE)
        self._compose = ["docker", "compose", "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml"), "-f", str(override)]
        self._environment = {**os.environ, "PEERFLOW_TASKS": "examples.wfformat_tasks", "DEBUG": "true"}

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._compose, *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=540, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def client(self, pod: str) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.run('port', pod, '8000')}", timeout=30)

    def inspect(self, pod: str) -> dict[str, Any]:
        container = self.run("ps", "--all", "--quiet", pod)
        return json.loads(subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True).stdout)[0]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        if IN_CI:
            pytest.fail("no Docker engine answers")
        pytest.skip("no Docker engine answers")
    stack = Stack(tmp_path_factory.mktemp("compose"))
    try:
        stack.run("up", "--build", "--detach", "--wait")
        yield stack
    finally:
        stack.run("down", "--volumes", "--timeout", "1")


def test_the_bwa_workflow_survives_pods_that_are_killed(stack: Stack) -> None:
    with stack.client("peerflow-0") as first, stack.client("peerflow-2") as last:
        run_id = first.post("/workflow", json=bwa("simulate", seconds=2)).json()["run_id"]

        def running_on(container: str) -> int:
            pods = last.get("/pods").json()["pods"]
            return sum(pod["running"] for pod in pods if pod["host"] == container)

        for pod in ("peerflow-0", "peerflow-1"):
            host = stack.inspect(pod)["Config"]["Hostname"]
            wait_until(lambda: running_on(host) > 10, f"{pod} works", 60)  # noqa: B023  (used at once)
            stack.run("kill", pod)
        wait_until(lambda: last.get(f"/runs/{run_id}").json()["status"] == "succeeded", "the run has succeeded", 120)
        status = last.get(f"/workflow_status/{run_id}").json()
        assert len(status["tasks"]) == 1004
        assert {task["status"] for task in status["tasks"]} == {"succeeded"}
        assert sum(task["lost"] for task in status["tasks"]) > 20
        check_events(last, run_id, status["tasks"])
    stack.run("start", "peerflow-0", "peerflow-1")


def check_events(client: httpx.Client, run_id: str, tasks: list[dict[str, Any]]) -> None:
    """Each task succeeded once, and started only after all its parents had."""
    events: list[dict[str, Any]] = []
    while page := client.get(f"/runs/{run_id}/events", params={"after": len(events), "limit": 1000}).json()["events"]:
        events += page
    parents = {task["id"]: task["depends_on"] for task in tasks}
    succeeded: Counter[str] = Counter()
    for event in events:
        if event["type"] == "task_started":
            assert all(succeeded[parent] for parent in parents[event["task"]]), event
        if event["type"] == "task_succeeded":
            succeeded[event["task"]] += 1
    assert succeeded == dict.fromkeys(parents, 1)


def test_a_pod_runs_as_nobody_in_particular_and_cannot_write_to_its_root(stack: Stack) -> None:
    assert stack.run("exec", "-T", "peerflow-2", "python", "-c", "import os; print(os.getuid())") == "10001"
    host = stack.inspect("peerflow-2")["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]


def test_sigterm_reaches_the_pod_and_it_leaves_in_order(stack: Stack) -> None:
    with stack.client("peerflow-2") as other:
        before = {pod["host"] for pod in other.get("/pods").json()["pods"] if pod["state"] == "alive"}
        host = stack.inspect("peerflow-1")["Config"]["Hostname"]
        wait_until(lambda: host in {pod["host"] for pod in other.get("/pods").json()["pods"]}, "the pod is there", 30)
        stack.run("stop", "peerflow-1")
        assert stack.inspect("peerflow-1")["State"]["ExitCode"] == 0
        assert host not in {pod["host"] for pod in other.get("/pods").json()["pods"]}
        assert before
    stack.run("start", "peerflow-1")


def test_redis_keeps_what_it_acknowledges(stack: Stack) -> None:
    settings = stack.run("exec", "-T", "redis", "redis-cli", "config", "get", "append*", "maxmemory-policy").split()
    facts = dict(zip(settings[::2], settings[1::2], strict=False))
    assert facts["appendonly"] == "yes"
    assert facts["maxmemory-policy"] == "noeviction"
