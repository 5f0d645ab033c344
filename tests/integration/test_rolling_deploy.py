"""Old pods and new ones side by side: what only new pods can run waits for them, says so, and is neither dropped nor failed."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pods import Cluster, PodProcess
from tests.support.waiting import wait_until

OLD = "tests.support.pod_tasks"
NEW = f"{OLD},tests.support.newer_tasks"
DEFINITION: dict[str, Any] = {
    "tasks": {
        "nap": {"task": "sleep", "args": {"seconds": 2}},
        "rare": {"task": "newer", "depends_on": ["nap"]},
        "last": {"task": "noop", "depends_on": ["rare"]},
    }
}


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[Cluster]:
    cluster = Cluster(tmp_path, tasks=OLD)
    yield cluster
    cluster.close()


def explained(pod: PodProcess, run_id: str, task_id: str) -> dict[str, Any]:
    [task] = pod.get(f"/runs/{run_id}/explain", task=task_id)["tasks"]
    return task


def test_a_task_that_only_new_pods_know_waits_for_one_and_says_so(cluster: Cluster) -> None:
    [old] = cluster.start(1)
    [new] = cluster.start(1, tasks=NEW)
    run_id = new.post(DEFINITION)
    new.terminate()

    def stuck() -> bool:
        return explained(old, run_id, "rare")["now"]["code"] == "no_capable_pod"

    wait_until(stuck, "the task waits for a pod that knows its function", 30)
    assert explained(old, run_id, "rare")["now"]["text"].startswith("no pod registers newer")
    child = explained(old, run_id, "last")
    assert (child["now"]["parents"], child["chain"][-1]["code"]) == (["rare"], "no_capable_pod")
    wait_until(lambda: explained(old, run_id, "rare")["waited_seconds"]["no_capable_pod"] > 2, "it has waited for a while", 30)
    status = old.get(f"/workflow_status/{run_id}")
    assert status["tasks"][1]["reason"].startswith("no pod registers newer")
    assert status["reason"].startswith("nothing runs: no pod registers newer")

    [newest] = cluster.start(1, tasks=NEW)
    assert newest.wait_until_finished(run_id)["status"] == "succeeded"
    events = [event["type"] for event in old.events(run_id) if event["task"] == "rare"]
    assert events == ["task_ready", "task_started", "task_succeeded"]
    task = old.get(f"/runs/{run_id}/tasks/rare")
    assert (task["result"], task["pod"], task["attempts"]) == ("new", newest.pod_id, 1)

    def told() -> bool:
        return "no_capable_pod" in explained(old, run_id, "rare")["waited_seconds"]

    wait_until(told, "the wait is in the history", 30)
    history = explained(old, run_id, "rare")
    assert history["now"]["code"] == "ended"
    assert [part["code"] for part in history["intervals"]][:2] == ["parents", "no_capable_pod"]
    assert history["waited_seconds"]["no_capable_pod"] > 2
    assert "for a pod that registers newer" in history["summary"]
