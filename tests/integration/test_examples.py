"""Everything in examples/ runs to its end on real pods, and no task starts before all its parents have finished."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from examples.generate import Definition, bwa, chain, fan, methylseq, montage
from peerflow.answers import RunStatus
from peerflow.cli.files import read_document
from peerflow.client import Client
from tests.support.pods import ROOT, Cluster

RECORDED = ROOT.parent / "shared" / "wfinstances"
"""Traces of real workflows; not part of the project."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Two pods that have the examples' task functions, as one text with commas."""
    cluster = Cluster(tmp_path_factory.mktemp("examples"), tasks="examples.my_tasks,examples.wfformat_tasks")
    try:
        yield ",".join(pod.url for pod in cluster.start(2))
    finally:
        cluster.close()


def finished(address: str, definition: Definition | bytes) -> RunStatus:
    with Client(address) as client:
        run_id = client.submit(definition).run_id
        client.wait(run_id, timeout_seconds=60)
        return client.status(run_id)


def assert_parents_came_first(run: RunStatus) -> None:
    finished_at = {task.id: task.finished_at for task in run.tasks}
    assert len(finished_at) == run.total
    for task in run.tasks:
        for parent in task.depends_on:
            ended = finished_at[parent]
            assert task.started_at is not None
            assert ended is not None
            assert ended <= task.started_at, f"{task.id} started before {parent} had finished"


@pytest.mark.parametrize("file", ["steps.json", "dag.json", "orders.yaml"])
def test_example_succeeds(address: str, file: str) -> None:
    run = finished(address, read_document(str(ROOT / "examples" / file)).body)
    assert run.succeeded, run.reason
    assert_parents_came_first(run)


@pytest.mark.parametrize("make", [methylseq, montage, bwa, fan, chain])
def test_generated_workflow_keeps_its_order(address: str, make: Callable[[], Definition]) -> None:
    run = finished(address, make())
    assert run.succeeded, run.reason
    assert_parents_came_first(run)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded workflows are not beside this clone")
@pytest.mark.parametrize(
    ("file", "tasks", "edges"),
    [
        ("methylseq-dirt02-001.json", 36, 70),
        ("montage-chameleon-2mass-01d-001.json", 103, 231),
        ("bwa-chameleon-medium-003.json", 1004, 4000),
    ],
)
def test_recorded_workflow_is_posted_by_the_converter_and_keeps_its_order(address: str, file: str, tasks: int, edges: int) -> None:
    command = [sys.executable, "examples/wfformat.py", str(RECORDED / file), "--url", address, "--scale", "0.001"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run_id = ended.stdout.split("run ")[1].split()[0]
    with Client(address) as client:
        run = client.status(run_id)
    assert (run.total, sum(len(task.depends_on) for task in run.tasks)) == (tasks, edges)
    assert run.succeeded
    assert_parents_came_first(run)


def test_scripts_write_definitions_that_a_pod_takes(address: str, tmp_path: Path) -> None:
    command = [sys.executable, "examples/generate.py", "fan", "--size", "3", "--function", "echo"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True).stdout
    assert finished(address, printed).total == 5
    recording = tmp_path / "not-wfformat.json"
    recording.write_text(json.dumps({"schemaVersion": "1.3"}))
    command = [sys.executable, "examples/wfformat.py", str(recording)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "schemaVersion is '1.3'" in refused.stderr
    assert "Traceback" not in refused.stderr
