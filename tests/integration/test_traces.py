"""Real pods send their traces to a collector: one trace from the post to the last attempt, whichever executor, whichever pod."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.pods import ROOT, Cluster
from tests.support.tracing import Collector
from tests.support.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Generator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def cluster(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Generator[Cluster]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    cluster = Cluster(tmp_path, tasks="tests.support.traced_tasks", traces="true", log_format="json")
    yield cluster
    cluster.close()


def test_a_trace_goes_from_the_post_through_the_run_to_every_attempt(cluster: Cluster, collector: Collector) -> None:
    (pod,) = cluster.start(1)
    steps = [{"type": "parallel", "tasks": ["in_loop", "in_thread", "in_process"]}]
    run_id = pod.post({"steps": steps}, traceparent=PARENT)
    status = pod.wait_until_finished(run_id)
    assert status["status"] == "succeeded"
    seen = {task["id"]: json.loads(task["result"]) for task in status["tasks"]}
    for task, answer in seen.items():
        assert answer["trace"] == TRACE, task
        assert answer["header"] == f"00-{TRACE}-{answer['span']}-01", task
    # A child process is killed when its pod ends; what it has noted is sent before.
    wait_until(lambda: sum(name == "user work" for name, *_ in collector.spans) >= 1, "the child's span arrives")
    assert pod.terminate() == 0
    names = [name for name, trace_id, _ in collector.spans if trace_id == TRACE]
    assert {"POST /workflow", "create run", "run", "process in_loop", "process in_thread", "process in_process"} <= set(names)
    assert sorted(found["user.task"] for name, _, found in collector.spans if name == "user work") == sorted(seen)
    assert collector.services == {"peerflow"}
    assert not any("healthz" in name or "readyz" in name for name, *_ in collector.spans)
    (line,) = [line for line in pod.logged("log") if line["message"] == "within the trace"]
    (created,) = pod.logged("run_created")
    (finished,) = pod.logged("run_finished")
    assert [line["trace_id"], created["trace_id"], finished["trace_id"]] == [TRACE] * 3


def test_an_attempt_that_another_pod_takes_over_stays_in_the_trace(cluster: Cluster, collector: Collector) -> None:
    pods = cluster.start(2)
    run_id = pods[0].post({"steps": [{"type": "sequential", "tasks": ["dies_once"]}]}, traceparent=PARENT)
    wait_until(lambda: not all(pod.alive for pod in pods), "the first attempt has killed its pod")
    (survivor,) = [pod for pod in pods if pod.alive]
    assert survivor.wait_until_finished(run_id)["status"] == "succeeded"
    pod_id = survivor.pod_id
    assert survivor.terminate() == 0
    (attempt,) = [(trace_id, found) for name, trace_id, found in collector.spans if name == "process dies_once"]
    assert attempt[0] == TRACE
    assert attempt[1]["peerflow.pod_id"] == pod_id


def test_a_collector_that_is_away_holds_up_neither_tasks_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    cluster = Cluster(tmp_path, tasks="tests.support.traced_tasks", traces="true")
    (pod,) = cluster.start(1)
    run_id = pod.post({"steps": [{"type": "sequential", "tasks": ["in_loop"]}]})
    assert pod.wait_until_finished(run_id)["status"] == "succeeded"
    assert pod.terminate() == 0
    cluster.close()


def test_a_pod_that_does_not_trace_imports_no_exporter_and_adds_nothing_to_runs(tmp_path: Path) -> None:
    # FastAPI imports OpenTelemetry's interfaces, and redis-py its metrics where they are installed.
    ours = "('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'peerflow.tracing')"
    code = f"import sys, peerflow.main; print([name for name in sys.modules if name.startswith({ours})])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"
    cluster = Cluster(tmp_path, tasks="tests.support.traced_tasks")
    (pod,) = cluster.start(1)
    status = pod.wait_until_finished(pod.post({"steps": [{"type": "sequential", "tasks": ["in_thread"]}]}, traceparent=PARENT))
    assert json.loads(status["tasks"][0]["result"])["header"] is None
    cluster.close()


def test_traces_without_the_extra_are_refused_with_the_remedy(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; from peerflow.cli import main; sys.exit(main())"
    environment = {"PATH": "", "PEERFLOW_TRACES": "true", "PEERFLOW_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", hidden, "serve", "--port", "0"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "pip install 'peerflow[otel]'" in ended.stderr


def test_an_exporter_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    cluster = Cluster(tmp_path, tasks="tests.support.traced_tasks", traces="true")
    pod = cluster.launch()
    assert pod.process.wait(60) == 2
    assert "OTEL_TRACES_EXPORTER (zipkin) must be otlp or none" in pod.log_text()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL (grpc) must be http/protobuf" in pod.log_text()
    cluster.close()
