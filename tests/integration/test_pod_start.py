"""A pod as its own process: what it prints, and what it says of a server that it cannot use, now or ever."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import redis

from tests.support.pods import ROOT, free_port
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect
from tests.support.waiting import wait_until

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Generator[Run]:
    """Starts `peerflow …` as a service manager would: its output goes to a file, and Python is not told to write without a buffer."""
    environment = {**os.environ, "PEERFLOW_DATA_DIR": str(tmp_path / "data"), "PEERFLOW_GRACE_SECONDS": "1"}
    environment.pop("PYTHONUNBUFFERED", None)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "peerflow.cli", *arguments]
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def redis_process(tmp_path: Path) -> Generator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    process = RedisProcess(tmp_path / "redis")
    process.start()
    yield process
    process.close()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def configure(server: RedisProcess, name: str, value: str) -> None:
    with connect(server.url) as client:
        client.config_set(name, value)


def readiness(port: int) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", httpx.get(f"http://127.0.0.1:{port}/readyz").json())
    except httpx.TransportError:
        return {"ready": False, "reason": "it does not answer"}


def test_what_a_task_prints_is_written_while_the_pod_runs(run: Run, output: Path) -> None:
    port = free_port()
    run("serve", "--port", str(port))
    wait_until(lambda: readiness(port)["ready"], "the pod is ready", 30)
    httpx.post(f"http://127.0.0.1:{port}/workflow", json={"tasks": {"a": {"task": "task_a"}}}).raise_for_status()
    wait_until(lambda: "Running task A\n" in output.read_text(), "the task's line is in the file")


def test_pod_that_may_not_log_in_says_so_and_waits(run: Run, redis_process: RedisProcess) -> None:
    configure(redis_process, "requirepass", "right")
    port = free_port()
    pod = run("serve", "--port", str(port), "--redis-url", redis_process.admin_url.replace("//", "//:wrong@"))
    said = wait_until(lambda: reason if "username-password" in (reason := readiness(port)["reason"]) else "", "the pod says why", 30)
    assert said.startswith("storage cannot be used yet: the server refused the call")
    with redis.Redis.from_url(redis_process.admin_url.replace("//", "//:right@")) as client:
        client.config_set("requirepass", "wrong")
    wait_until(lambda: readiness(port)["ready"], "the pod is ready once it may", 30)
    assert pod.poll() is None


def test_pod_ends_where_the_stored_data_are_not_peerflows(run: Run, redis_process: RedisProcess, output: Path) -> None:
    with connect(redis_process.url) as client:
        client.set("{pf}:layout", "something else")
    pod = run("serve", "--port", str(free_port()), "--redis-url", redis_process.url)
    assert pod.wait(30) == 1
    assert "peerflow cannot start: stored data make no sense: WRONGTYPE" in output.read_text()


def test_doctor_judges_a_server_that_a_pod_would_refuse_and_changes_nothing(run: Run, redis_process: RedisProcess, output: Path) -> None:
    configure(redis_process, "maxmemory-policy", "allkeys-lru")
    assert run("doctor", "--json", "--redis-url", redis_process.url).wait(30) == 1
    checks = {check["subject"]: check for check in json.loads(output.read_text())["checks"]}
    assert checks["redis"]["verdict"] == "ok"
    assert checks["eviction"]["verdict"] == "problem"
    assert checks["eviction"]["remedy"].startswith("CONFIG SET maxmemory-policy noeviction")
    with connect(redis_process.url) as client:
        assert client.dbsize() == 0
