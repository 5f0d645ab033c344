"""Redis is away: pods stay, keep what they run, and go on when it is back."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from examples.generate import bwa
from tests.support.pods import Cluster, PodProcess
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect
from tests.support.waiting import wait_until

TTL_SECONDS = 2.0


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisProcess]:
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = RedisProcess(folder)
    yield redis
    redis.close()


@pytest.fixture
def cluster(tmp_path: Path, redis: RedisProcess) -> Generator[Cluster]:
    cluster = Cluster(tmp_path, redis_url=redis.url)
    yield cluster
    cluster.close()


def test_a_redis_that_is_frozen_for_three_leases_takes_nothing_from_living_pods(cluster: Cluster, redis: RedisProcess) -> None:
    redis.start()
    cluster.start(2)
    task = {"task": "hold_first_attempt", "args": {"gate": "gate"}}
    run_id = cluster.pods[0].post({"tasks": {"during": task, "beyond": {**task, "args": {"gate": "later"}}}})
    wait_until(lambda: len(cluster.lines("attempts")) == 2, "both tasks have started")
    redis.freeze()
    frozen_at = time.monotonic()
    wait_until(lambda: not any(pod.is_ready() for pod in cluster.pods), "no pod calls itself ready", 15)
    (cluster.folder / "gate").touch()
    wait_until(lambda: time.monotonic() - frozen_at > 3 * TTL_SECONDS, "three lease times have passed", 15)
    redis.thaw()
    wait_until(lambda: all(pod.is_ready() for pod in cluster.pods), "all pods are ready again", 10)
    thawed_at = time.monotonic()
    wait_until(lambda: time.monotonic() - thawed_at > 2 * TTL_SECONDS, "reapers have had their chance", 15)
    (cluster.folder / "later").touch()
    status = cluster.pods[1].wait_until_finished(run_id)
    assert [(task["result"], task["attempts"], task["lost"]) for task in status["tasks"]] == [("attempt 1", 1, 0)] * 2
    assert len(cluster.lines("attempts")) == 2


@pytest.mark.slow
def test_a_redis_that_is_killed_under_load_loses_no_accepted_run(cluster: Cluster, redis: RedisProcess) -> None:
    redis.start()
    pods = cluster.start(3)
    definition = bwa("work", width=200, seconds=0.1)
    runs = [pod.post(definition) for pod in pods]
    for round_number in range(1, 3):
        wait_until(lambda: len(cluster.lines("attempts")) > 100 * round_number, "tasks are under way", 30)  # noqa: B023  (used at once)
        redis.kill()
        redis.start()
    for run_id in runs:
        status = pods[0].wait_until_finished(run_id)
        assert status["status"] == "succeeded"
        assert {task["lost"] for task in status["tasks"]} == {0}
    assert len(cluster.lines("attempts")) == 3 * 204


def test_a_pod_that_starts_before_redis_says_so_and_works_once_it_is_there(cluster: Cluster, redis: RedisProcess) -> None:
    pod = PodProcess(cluster.folder, 0, cluster.environment, "tests.support.pod_tasks")
    cluster.pods.append(pod)
    try:
        address = f"redis://127.0.0.1:{redis.port}/0"
        wait_until(lambda: f"cannot reach {address}" in pod.log.read_text(), "the pod names the address", 20)
        answer = pod.http.post("/workflow", json={"steps": [{"type": "sequential", "tasks": ["noop"]}]})
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert address in answer.json()["detail"]
        assert pod.http.get("/healthz").status_code == 200
        redis.start()
        pod.wait_until_ready()
        run_id = pod.post({"steps": [{"type": "sequential", "tasks": ["noop"]}]})
        assert pod.wait_until_finished(run_id)["status"] == "succeeded"
    finally:
        pod.close()


def test_scripts_that_redis_forgets_are_loaded_again(cluster: Cluster, redis: RedisProcess) -> None:
    redis.start()
    cluster.start(1)
    run_id = cluster.pods[0].post({"steps": [{"type": "sequential", "tasks": [{"task": "work", "args": {"seconds": 0.05}}] * 20}]})
    with connect(redis.url) as client:
        for _ in range(5):
            client.script_flush()
            started = len(cluster.lines("attempts"))
            wait_until(lambda: len(cluster.lines("attempts")) > started or started == 20, "the run goes on")  # noqa: B023  (used at once)
    assert cluster.pods[0].wait_until_finished(run_id)["status"] == "succeeded"


def test_a_server_that_may_evict_keys_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "evicting"
    folder.mkdir()
    redis = RedisProcess(folder, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
    cluster = Cluster(tmp_path, redis_url=redis.url)
    redis.start()
    pod = PodProcess(tmp_path, 0, cluster.environment, "tests.support.pod_tasks")
    try:
        assert pod.process.wait(30) == 2
        assert "maxmemory-policy allkeys-lru" in pod.log.read_text()
        assert "CONFIG SET maxmemory-policy noeviction" in pod.log.read_text()
    finally:
        pod.close()
        redis.close()
