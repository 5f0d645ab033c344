"""Pods as processes, scraped as Prometheus does: what they have done, what became of one that was killed, and Redis away."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from peerflow.metrics.catalogue import FAMILIES
from tests.support.pod_client import PodClient
from tests.support.pods import Cluster
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until

Samples = dict[str, dict[tuple[str, ...], float]]
"""Series' name → label values → number."""


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def redis_process(tmp_path: Path) -> Generator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    process = RedisProcess(tmp_path / "redis")
    process.start()
    yield process
    process.close()


def scrape(pod: PodClient) -> Samples:
    answer = pod.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in parse(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_pod_that_runs_a_workflow_tells_of_it(cluster: Cluster) -> None:
    (pod,) = cluster.start(1)
    run_id = pod.post(
        {
            "tasks": {
                "a": {"task": "work"},
                "b": {"task": "work", "depends_on": ["a"]},
                "c": {"task": "fails_once", "depends_on": ["a"], "retry": {"max_attempts": 2, "wait": {"initial": 0.01}}},
            }
        }
    )
    assert pod.wait_until_finished(run_id)["status"] == "succeeded"
    wait_until(lambda: scrape(pod)["peerflow_runs_finished_total"][("succeeded",)] == 1, "the end of the run is counted")
    told = scrape(pod)
    assert {name for name in told if name.startswith("peerflow_")} >= {
        family.name for family in FAMILIES if not family.labels and family.kind != "histogram"
    }
    assert told["peerflow_runs_created_total"][()] == 1
    assert told["peerflow_attempts_total"] == {("work", "succeeded"): 2, ("fails_once", "failed"): 1, ("fails_once", "succeeded"): 1}
    assert told["peerflow_claims_total"] == {("work", "default"): 2, ("fails_once", "default"): 2}
    assert told["peerflow_attempt_duration_seconds_count"][("work",)] == 2
    assert told["peerflow_attempt_duration_seconds_sum"][("work",)] >= 0.03
    assert told["peerflow_retries_total"] == {("fails_once",): 1}
    assert told["peerflow_http_requests_total"][("POST", "/workflow", "202")] == 1
    assert told["peerflow_storage_call_duration_seconds_count"][("commit",)] >= 3
    assert told["peerflow_storage_call_duration_seconds_count"][("heartbeat",)] >= 1
    assert told["peerflow_ready"][()] == told["peerflow_storage_up"][()] == 1
    assert told["peerflow_slots"][()] == 100
    assert told["peerflow_slots_in_use"][()] == 0
    assert told["peerflow_storage_connections_open"][("loops",)] >= 1
    assert told["peerflow_limbo_repairs_total"][()] == 0
    assert told["process_resident_memory_bytes"][()] > 10_000_000


def test_what_runs_and_what_waits_shows_while_it_does(cluster: Cluster) -> None:
    (pod,) = cluster.start(1, concurrency="2")
    hold = {"task": "hold", "args": {"gate": "gate"}}
    run_id = pod.post({"tasks": {f"t{number}": hold for number in range(5)}})
    wait_until(lambda: scrape(pod)["peerflow_slots_in_use"][()] == 2, "both slots are taken")
    wait_until(lambda: scrape(pod)["peerflow_queue_ready_tasks"].get(("hold", "default")) == 3, "three tasks wait", 20)
    told = scrape(pod)
    assert told["peerflow_queue_oldest_task_age_seconds"][("hold", "default")] > 0
    assert told["peerflow_runs_live"][()] == 1
    (cluster.folder / "gate").touch()
    assert pod.wait_until_finished(run_id)["status"] == "succeeded"
    wait_until(lambda: scrape(pod)["peerflow_queue_ready_tasks"][("hold", "default")] == 0, "nothing waits", 20)
    assert scrape(pod)["peerflow_runs_live"][()] == 0


def test_the_takeover_of_a_killed_pods_task_shows_and_how_long_it_took(cluster: Cluster) -> None:
    first, second = cluster.start(2)
    run_id = first.post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "gate"}}}})
    wait_until(lambda: cluster.lines("attempts"), "the task has started")
    owner, other = (first, second) if first.pod_id == cluster.lines("attempts")[0][4] else (second, first)
    owner.kill()
    assert other.wait_until_finished(run_id)["status"] == "succeeded"
    wait_until(lambda: scrape(other)["peerflow_attempts_total"].get(("hold_first_attempt", "succeeded")) == 1, "its end is counted")
    told = scrape(other)
    assert told["peerflow_tasks_reaped_total"] == {("requeued",): 1, ("failed",): 0}
    assert told["peerflow_attempts_total"][("hold_first_attempt", "lost")] == 1
    assert told["peerflow_takeover_seconds_count"][()] == 1
    # A lease of two seconds has passed, at least.
    assert 2.0 <= told["peerflow_takeover_seconds_sum"][()] < 60
    (line,) = other.logged("tasks_reaped")
    assert line["takeover_seconds"] == pytest.approx(told["peerflow_takeover_seconds_sum"][()], abs=0.001)


def test_without_redis_a_pod_answers_what_it_knows(redis_process: RedisProcess, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, redis_url=redis_process.url)
    try:
        (pod,) = cluster.start(1)
        assert pod.wait_until_finished(pod.post({"tasks": {"a": {"task": "noop"}}}))["status"] == "succeeded"
        assert scrape(pod)["peerflow_storage_up"][()] == 1
        redis_process.kill()
        wait_until(lambda: scrape(pod)["peerflow_storage_up"][()] == 0, "the pod knows", 20)
        told = scrape(pod)
        assert told["peerflow_attempts_total"][("noop", "succeeded")] == 1
        wait_until(lambda: scrape(pod)["peerflow_ready"][()] == 0, "the pod is not ready", 20)
        wait_until(lambda: scrape(pod)["peerflow_storage_outages_total"][()] == 1, "the outage is counted", 20)
        redis_process.start()
        wait_until(lambda: scrape(pod)["peerflow_storage_up"][()] == 1, "it answers again", 30)
        wait_until(lambda: scrape(pod)["peerflow_storage_outage_seconds_total"][()] > 0, "the outage had a length", 20)
    finally:
        cluster.close()


def test_a_pod_answers_before_it_has_ever_reached_redis(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, redis_url="redis://127.0.0.1:9/0")
    try:
        pod = cluster.launch()
        wait_until(lambda: answers(pod), "the pod answers", 30)
        told = scrape(pod)
        assert (told["peerflow_ready"][()], told["peerflow_storage_up"][()]) == (0, 0)
    finally:
        cluster.close()


def answers(pod: PodClient) -> bool:
    try:
        return pod.http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_pod_may_count_nothing(cluster: Cluster) -> None:
    (pod,) = cluster.start(1, metrics="false")
    assert pod.wait_until_finished(pod.post({"tasks": {"a": {"task": "noop"}}}))["status"] == "succeeded"
    answer = pod.http.get("/metrics")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:peerflow:problem:metrics-off")


def test_a_pod_that_traces_counts_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    cluster = Cluster(tmp_path, traces="true")
    try:
        (pod,) = cluster.start(1)
        run_id = pod.post({"tasks": {"a": {"task": "work"}}})
        assert pod.wait_until_finished(run_id)["status"] == "succeeded"
        wait_until(lambda: scrape(pod)["peerflow_runs_finished_total"].get(("succeeded",)) == 1, "the end of the run is counted")
        assert scrape(pod)["peerflow_runs_created_total"][()] == 1
    finally:
        cluster.close()
