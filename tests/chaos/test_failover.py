"""Sentinels replace the primary: pods find the new one and go on, and nobody writes to the old one (F12, F13)."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from tests.chaos.scene import Scene, ids
from tests.support.servers import connect
from tests.support.waiting import wait_until
from tests.support.watched import Watched

NOOP = {"name": "after", "steps": [{"type": "sequential", "tasks": ["light", "light"]}]}


@pytest.fixture
def watched(tmp_path: Path) -> Generator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.close()


@pytest.fixture
def scene(tmp_path: Path, watched: Watched) -> Generator[Scene]:
    scene = Scene(tmp_path, watched.url)
    yield scene
    scene.close()


@pytest.mark.long
def test_a_primary_that_is_killed_costs_no_accepted_run(scene: Scene, watched: Watched) -> None:
    watched.kill_sentinel(2)
    scene.post_all_the_time()
    scene.wait_for_posts(15)
    watched.first.kill()
    wait_until(lambda: not any(pod.is_ready() for pod in scene.cluster.pods), "no pod calls itself ready meanwhile")
    scene.wait_until_ready()
    scene.wait_for_posts(15)
    accepted, records = scene.finish(rollback=True)
    assert accepted <= ids(records)


@pytest.mark.parametrize("behind_seconds", [1.0, *(pytest.param(seconds, marks=pytest.mark.long) for seconds in (0.0, 2.0))])
def test_a_replica_that_is_behind_leaves_an_earlier_state_that_is_whole(scene: Scene, watched: Watched, behind_seconds: float) -> None:
    scene.post_all_the_time()
    scene.wait_for_posts(10)
    watched.cut_replication()
    until = time.monotonic() + behind_seconds
    wait_until(lambda: time.monotonic() > until, "the replica is behind")
    watched.first.kill()
    watched.wait_until_promoted()
    scene.wait_until_ready()
    scene.wait_for_posts(10)
    accepted, records = scene.finish(rollback=True)
    assert accepted - ids(records) or not behind_seconds, "nothing was forgotten: the test proved nothing"
    # A client that repeats a post which was forgotten gets a run, and the same one each time.
    posts = [(url, {"Idempotency-Key": "again"}) for url in scene.pod_urls() * 2]
    again = {httpx.post(f"{url}/workflow", json=NOOP, headers=headers).json()["run_id"] for url, headers in posts}
    assert len(again) == 1


@pytest.mark.long
def test_a_primary_that_was_frozen_is_left_alone_when_it_comes_back_and_becomes_a_replica(scene: Scene, watched: Watched) -> None:
    scene.post_all_the_time()
    scene.wait_for_posts(10)
    watched.first.freeze()
    watched.wait_until_promoted()
    scene.wait_until_ready()
    watched.first.thaw()
    with connect(watched.first.url) as client:
        # What had been sent to it before it was frozen, and was given up, is carried out now; nothing comes after that.
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        scene.wait_for_posts(20)
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    watched.wait_until_follows(watched.first)
    scene.wait_for_posts(5)
    accepted, records = scene.finish(rollback=True)
    assert accepted <= ids(records)


def test_a_primary_without_its_replica_refuses_and_pods_say_so(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
    scene = Scene(tmp_path, watched.url)
    try:
        pod = scene.cluster.pods[0]
        watched.second.kill()
        wait_until(lambda: not any(each.is_ready() for each in scene.cluster.pods), "no pod calls itself ready", 20)
        answer = pod.http.post("/workflow", json=NOOP)
        assert answer.status_code == 503
        assert "NOREPLICAS" in answer.text
        assert "NOREPLICAS" in pod.log_text()
        watched.second.start()
        scene.wait_until_ready()
        assert pod.wait_until_finished(pod.post(NOOP))["status"] == "succeeded"
    finally:
        scene.close()
        watched.close()
