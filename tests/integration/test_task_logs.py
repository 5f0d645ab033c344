"""What tasks of real pods print: read through the API and the command line, after the pod has been killed too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pods import ROOT, Cluster, PodProcess
from tests.support.talking_tasks import STORM
from tests.support.waiting import wait_until

TASKS = "tests.support.talking_tasks"
Json = dict[str, Any]


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    made = Cluster(tmp_path, tasks=TASKS)
    yield made
    made.close()


def submit(pod: PodProcess, **tasks: Json) -> str:
    return pod.http.post("/workflow", json={"tasks": tasks}).json()["run_id"]


def page(pod: PodProcess, run_id: str, **query: Any) -> Json:
    answer = pod.http.get(f"/runs/{run_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(pod: PodProcess, run_id: str, **query: Any) -> list[str]:
    return [line["text"] for line in page(pod, run_id, **query)["lines"]]


def follow(pod: PodProcess, run_id: str, **headers: str) -> Generator[tuple[str, str, Json]]:
    """Kind, id and data of each event, until the answer ends."""
    with pod.http.stream("GET", f"/runs/{run_id}/logs", params={"follow": "true"}, headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
                fields = {}


def command(pod: PodProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PEERFLOW_URL": pod.url, "NO_COLOR": "1"}
    words = [sys.executable, "-m", "peerflow.cli", "logs", *arguments]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_all_three_executors_are_heard_and_the_pod_s_own_output_is_as_it_was(cluster: Cluster) -> None:
    [pod] = cluster.start(1)
    run_id = submit(
        pod,
        first={"task": "speaks", "args": {"words": "of async code"}},
        second={"task": "talks_in_a_child", "depends_on": ["first"]},
        third={"task": "task_a", "depends_on": ["second"]},
    )
    told = list(follow(pod, run_id))
    assert [data["text"] for kind, _, data in told if kind == "line"] == [
        "of async code", "logged of async code", "from the child", "ctx.log", "plain", "on standard error", "no end", "Running task A",
    ]  # fmt: skip
    assert told[-1] == ("end", "", {"run_id": run_id, "status": "succeeded"})
    log = pod.log_text()
    assert "of async code\n" in log
    assert "from the child\n" in log
    [record] = [json.loads(line) for line in log.splitlines() if line.startswith("{") and "logged of async code" in line]
    assert (record["run_id"], record["task"], record["attempt"]) == (run_id, "first", 1)


def test_what_was_flushed_survives_the_kill_of_its_pod_and_the_next_attempt_adds_its_own(cluster: Cluster) -> None:
    doomed, other = cluster.start(2)
    gate = cluster.folder / "gate"
    run_id = submit(doomed, held={"task": "speaks_and_waits", "args": {"gate": "gate"}})
    wait_until(lambda: texts(other, run_id) == ["here 1"], "the line is in Redis while the task runs")
    holder = page(other, run_id)["lines"][0]["pod"]
    victim, survivor = (doomed, other) if holder in doomed.log_text() else (other, doomed)
    events = follow(survivor, run_id)
    assert next(events)[2]["text"] == "here 1"
    victim.kill()
    kind, place, data = next(events)
    assert (kind, data["text"], data["attempt"]) == ("line", "here 2", 2)
    events.close()
    gate.touch()
    rest = list(follow(survivor, run_id, **{"Last-Event-ID": place}))
    assert [data["text"] for kind, _, data in rest if kind == "line"] == ["there 2"]
    assert rest[-1][2]["status"] == "succeeded"
    assert texts(survivor, run_id, task="held", attempt=1) == ["here 1"]
    assert texts(survivor, run_id, task="held", attempt=2) == ["here 2", "there 2"]


def test_a_storm_keeps_its_newest_lines_and_counts_the_rest(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, tasks=TASKS, task_log_lines="100")
    try:
        [pod] = cluster.start(1)
        run_id = submit(pod, storm={"task": "storms_in_a_thread"})
        assert list(follow(pod, run_id))[-1][2]["status"] == "succeeded"
        kept = page(pod, run_id, limit=1_000)
        lines = [line for line in kept["lines"] if line["stream"] == "stdout"]
        assert lines[-1]["text"] == f"line {STORM - 1}"
        assert len(lines) <= 100
        assert len(lines) + kept["dropped"] == STORM
    finally:
        cluster.close()


def test_with_logs_of_tasks_off_nothing_is_kept(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, tasks=TASKS, task_log_level="off")
    try:
        [pod] = cluster.start(1)
        run_id = submit(pod, a={"task": "speaks"}, b={"task": "talks_in_a_child"})
        assert list(follow(pod, run_id)) == [("end", "", {"run_id": run_id, "status": "succeeded"})]
        assert "hello\n" in pod.log_text()
    finally:
        cluster.close()


def test_a_pod_that_is_told_to_stop_ends_its_answers_at_once(cluster: Cluster) -> None:
    [pod] = cluster.start(1, grace_seconds="0")
    run_id = submit(pod, held={"task": "speaks_and_waits", "args": {"gate": "never"}})
    events = follow(pod, run_id)
    assert next(events)[2]["text"] == "here 1"
    assert pod.terminate() == 0
    with pytest.raises(StopIteration):
        next(events)


def test_the_command_line_shows_follows_and_says_how_the_run_ended(cluster: Cluster) -> None:
    [pod] = cluster.start(1)
    run_id = submit(
        pod, a={"task": "speaks", "args": {"words": "\x1b[31mred\x1b[0m \x07bell"}}, b={"task": "sleep", "args": {"seconds": 1}}
    )
    followed = command(pod, run_id, "--follow")
    assert (followed.returncode, followed.stderr) == (0, "")
    assert [line.split(" │ ")[1] for line in followed.stdout.splitlines()] == ["red \\x07bell", "warning logged red \\x07bell"]
    assert command(pod, run_id, "a", "--attempt", "1").stdout == followed.stdout
    assert command(pod, run_id, "b").stdout == ""
    assert "\x1b[31mred\x1b[0m \x07bell" in command(pod, run_id, "--raw").stdout
    document = json.loads(command(pod, run_id, "--json").stdout)
    assert (document["run_id"], document["dropped"], len(document["lines"])) == (run_id, 0, 2)
    lines = [json.loads(line) for line in command(pod, run_id, "--json", "--follow").stdout.splitlines()]
    assert lines == document["lines"]
    assert command(pod, run_id, "nope").returncode == 2
    assert command(pod, run_id, "--attempt", "1").returncode == 2
    failing = submit(pod, a={"task": "echo", "args": {"value": False}})
    wait_until(lambda: httpx.get(f"{pod.url}/runs/{failing}").json()["status"] == "failed", "the run has failed")
    assert command(pod, failing, "--follow").returncode == 1
