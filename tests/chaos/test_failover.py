"""Sentinels replace the primary: pods find the new one and go on, and nobody writes to the old one (F12, F13)."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peerflow.testing.checker import check
from peerflow.testing.history import History
from peerflow.testing.records import read_run_over_http
from tests.chaos.campaign.traffic import Client, all_runs, wait_until_all_ended
from tests.support.pods import Cluster
from tests.support.servers import connect
from tests.support.waiting import wait_until
from tests.support.watched import PASSWORD, Watched

NOOP = {"name": "after", "steps": [{"type": "sequential", "tasks": ["light", "light"]}]}


class Scene:
    """Two pods that know of the servers only what Sentinels tell, and clients that post all the time."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.watched = Watched(folder, *options)
        self.cluster = Cluster(folder, tasks="tests.support.chaos_tasks", redis_url=self.watched.url)
        self.history = History(folder / "history.jsonl")
        self.clients: list[Client] = []
        self.cluster.start(2)

    def pod_urls(self) -> list[str]:
        return [pod.url for pod in self.cluster.pods]

    def get(self, path: str, /, **params: str) -> Any:
        return self.cluster.pods[0].get(path, **params)

    def post_all_the_time(self) -> None:
        self.clients = [Client(self, seed, pause_seconds=0.1) for seed in range(2)]
        for client in self.clients:
            client.start()

    def wait_for_posts(self, count: int) -> None:
        """Until so many more runs were accepted."""
        before = self._accepted()
        wait_until(lambda: self._accepted() >= before + count, f"{count} more runs are accepted", 40)

    def _accepted(self) -> int:
        return sum(len(client.runs) for client in self.clients)

    def wait_until_ready(self) -> None:
        wait_until(lambda: all(pod.is_ready() for pod in self.cluster.pods), "all pods are ready", 30)

    def finish(self) -> tuple[set[str], set[str]]:
        """Ends the clients, waits for all runs, and has the checker look: runs that were accepted, and runs that there are."""
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join(90)
        assert [client.problem for client in self.clients] == [None] * len(self.clients)
        known = all_runs(self)
        assert wait_until_all_ended(self, known, 40) == []
        records = [read_run_over_http(self.get, run_id) for run_id in known]
        assert [str(violation) for violation in check(self.history, records, rollback=True)] == []
        assert not [pod.url for pod in self.cluster.pods if PASSWORD in pod.log_text()]
        return {run_id for client in self.clients for run_id in client.runs}, set(known)

    def close(self) -> None:
        try:
            self.cluster.close()
        finally:
            self.watched.close()


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def test_a_primary_that_is_killed_costs_no_accepted_run(scene: Scene) -> None:
    scene.watched.kill_sentinel(2)
    scene.post_all_the_time()
    scene.wait_for_posts(15)
    scene.watched.first.kill()
    wait_until(lambda: not any(pod.is_ready() for pod in scene.cluster.pods), "no pod calls itself ready meanwhile")
    scene.wait_until_ready()
    scene.wait_for_posts(15)
    accepted, known = scene.finish()
    assert accepted <= known


@pytest.mark.parametrize("behind_seconds", [0.0, 1.0, pytest.param(2.0, marks=pytest.mark.long)])
def test_a_replica_that_is_behind_leaves_an_earlier_state_that_is_whole(scene: Scene, behind_seconds: float) -> None:
    scene.post_all_the_time()
    scene.wait_for_posts(10)
    scene.watched.cut_replication()
    until = time.monotonic() + behind_seconds
    wait_until(lambda: time.monotonic() > until, "the replica is behind")
    scene.watched.first.kill()
    scene.watched.wait_until_promoted()
    scene.wait_until_ready()
    scene.wait_for_posts(10)
    accepted, known = scene.finish()
    assert accepted - known or not behind_seconds, "nothing was forgotten: the test proved nothing"
    # A client that repeats a post which was forgotten gets a run, and the same one each time.
    posts = [(url, {"Idempotency-Key": "again"}) for url in scene.pod_urls() * 2]
    again = {httpx.post(f"{url}/workflow", json=NOOP, headers=headers).json()["run_id"] for url, headers in posts}
    assert len(again) == 1


@pytest.mark.long
def test_a_primary_that_was_frozen_is_left_alone_when_it_comes_back_and_becomes_a_replica(scene: Scene) -> None:
    scene.post_all_the_time()
    scene.wait_for_posts(10)
    scene.watched.first.freeze()
    scene.watched.wait_until_promoted()
    scene.wait_until_ready()
    scene.watched.first.thaw()
    with connect(scene.watched.first.url) as client:
        # What had been sent to it before it was frozen, and was given up, is carried out now; nothing comes after that.
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        scene.wait_for_posts(20)
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    scene.watched.wait_until_follows(scene.watched.first)
    scene.wait_for_posts(5)
    accepted, known = scene.finish()
    assert accepted <= known


def test_a_primary_without_its_replica_refuses_and_pods_say_so(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
    try:
        pod = scene.cluster.pods[0]
        scene.watched.second.kill()
        wait_until(lambda: not any(each.is_ready() for each in scene.cluster.pods), "no pod calls itself ready", 20)
        answer = pod.http.post("/workflow", json=NOOP)
        assert answer.status_code == 503
        assert "NOREPLICAS" in answer.text
        assert "NOREPLICAS" in pod.log_text()
        scene.watched.second.start()
        scene.wait_until_ready()
        assert pod.wait_until_finished(pod.post(NOOP))["status"] == "succeeded"
    finally:
        scene.close()
