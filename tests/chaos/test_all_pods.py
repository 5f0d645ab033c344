"""What happens to all pods at once, or to one after the other: nothing that was accepted is lost (F25, F27, F28)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from examples.generate import bwa
from tests.chaos.test_pods_die import assert_each_task_ended_once
from tests.support.pods import Cluster, PodProcess
from tests.support.redis_process import RedisProcess
from tests.support.stage import summary
from tests.support.waiting import wait_until

SMALL = {"name": "small", "steps": [{"type": "parallel", "tasks": ["noop", "noop"]}, {"type": "sequential", "tasks": ["noop"]}]}
REFUSED = (httpx.ConnectError, httpx.ConnectTimeout)
"""Nobody listens there: the request was not sent."""
UNKNOWN = (httpx.TransportError,)
"""The pod died over it: the run may exist, and only a repetition with the same key tells."""


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.close()


class Poster:
    """A client that posts through any pod, and on to the next one where nobody listens."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.refused = self.unknown = 0
        self.answers: list[httpx.Response] = []

    def post(self, number: int, key: str | None = None, definition: object = SMALL) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            number += 1
            pod = self._cluster.pods[number % len(self._cluster.pods)]
            try:
                answer = httpx.post(f"{pod.url}/workflow", json=definition, headers=headers, timeout=10)
            except REFUSED:
                self.refused += 1
                continue
            except UNKNOWN:
                self.unknown += 1
                if key is None:
                    raise
                continue
            self.answers.append(answer)
            if answer.status_code != 503:
                return str(answer.json().get("run_id"))
        raise AssertionError("no pod has taken the run")


def test_when_all_pods_die_a_new_one_finishes_everything(tmp_path: Path, redis: RedisProcess) -> None:
    cluster = Cluster(tmp_path, redis_url=redis.url)
    try:
        pods = cluster.start(3)
        runs = [pod.post(bwa("work", width=60, seconds=0.3)) for pod in pods]
        sleeper = pods[0].post(
            {"tasks": {"nap": {"task": "sleep", "args": {"seconds": 1}}, "then": {"task": "noop", "depends_on": ["nap"]}}}
        )
        retried = pods[1].post({"tasks": {"again": {"task": "fails_once", "retry": {"max_attempts": 2, "wait": {"initial": 1}}}}})
        wait_until(lambda: len(cluster.lines("attempts")) > 40, "tasks are under way", 20)
        for pod in pods:
            pod.kill()
        [heir] = cluster.start(1)
        statuses = [heir.wait_until_finished(run_id) for run_id in (*runs, sleeper, retried)]
        assert [status["status"] for status in statuses] == ["succeeded"] * 5
        for run_id, status in zip(runs, statuses[:3], strict=True):
            assert_each_task_ended_once(heir, run_id, status)
        lost = Counter(task["lost"] for status in statuses for task in status["tasks"])
        assert lost[1] > 0, "no attempt was under way: the test proved nothing"
        assert set(lost) == {0, 1}
    finally:
        cluster.close()


def test_twenty_posts_with_one_key_to_pods_that_are_killed_make_one_run(cluster: Cluster) -> None:
    pods = cluster.start(3)
    poster = Poster(cluster)
    with ThreadPoolExecutor(20) as threads:
        posts = [threads.submit(poster.post, number, "the same key") for number in range(20)]
        wait_until(lambda: poster.answers, "the first one is answered")
        pods[0].kill()
        pods[1].kill()
        run_ids = {post.result() for post in posts}
    assert len(run_ids) == 1
    assert {answer.status_code for answer in poster.answers} == {202}
    runs = pods[2].get("/runs", name="small")["runs"]
    assert [run["run_id"] for run in runs] == list(run_ids)
    assert pods[2].wait_until_finished(run_ids.pop())["status"] == "succeeded"
    refused = pods[2].http.post("/workflow", json={**SMALL, "name": "another"}, headers={"Idempotency-Key": "the same key"})
    assert refused.status_code == 422


def test_a_predecessor_that_is_delivered_twice_does_not_start_the_join_early(cluster: Cluster) -> None:
    """Celery 5.6.3 runs a chord's body when it has counted as many ends as there are tasks, also where one task has ended twice."""
    pods = cluster.start(2)
    run_id = pods[0].post(
        {
            "tasks": {
                "twice": {"task": "hold_first_attempt", "args": {"gate": "twice"}},
                "join": {"task": "work", "depends_on": ["twice", "second", "third"]},
                "second": {"task": "work"},
                "third": {"task": "hold", "args": {"gate": "third"}},
            }
        }
    )
    wait_until(lambda: len(cluster.lines("attempts")) == 3, "all three have started")
    owner_id = next(line[4] for line in cluster.lines("attempts") if line[1] == "twice")
    first, other = sorted(pods, key=lambda pod: pod.pod_id != owner_id)
    first.freeze()
    (cluster.folder / "twice").touch()
    wait_until(lambda: other.get(f"/runs/{run_id}/tasks/twice")["status"] == "succeeded", "the task has ended on the other pod", 15)
    first.thaw()
    wait_until(lambda: first.logged("commit_refused") or first.logged("lease_lost"), "the first delivery's end has come too", 15)
    assert other.get(f"/runs/{run_id}/tasks/join")["status"] == "pending"
    (cluster.folder / "third").touch()
    status = other.wait_until_finished(run_id, 20)
    assert_each_task_ended_once(other, run_id, status)
    assert summary(status)["join"] == ("succeeded", 1, 0)
    assert sum(line[1] == "join" for line in cluster.lines("attempts")) == 1


def test_a_redis_that_comes_back_empty_is_taken_as_it_is(tmp_path: Path, redis: RedisProcess) -> None:
    cluster = Cluster(tmp_path, redis_url=redis.url)
    try:
        pods = cluster.start(2)
        run_id = pods[0].post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "gate"}}}})
        ended = pods[0].post(SMALL)
        pods[0].wait_until_finished(ended)
        wait_until(lambda: cluster.lines("attempts"), "the task has started")
        redis.kill()
        redis.wipe()
        redis.start()
        wait_until(lambda: all(pod.is_ready() for pod in pods), "all pods are ready again", 20)
        for forgotten in (run_id, ended):
            answer = pods[1].http.get(f"/workflow_status/{forgotten}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:peerflow:problem:run-not-found")
        (tmp_path / "gate").touch()
        for pod in pods:
            assert pod.wait_until_finished(pod.post(SMALL), 20)["status"] == "succeeded"
        assert all(pod.alive for pod in pods)
        assert sum(len(pod.logged("loop_failed")) for pod in pods) == 0
        wrong = cluster.launch(partitions="2")
        assert wrong.process.wait(30) == 2, "the layout is noted again, so that a pod which differs is refused"
    finally:
        cluster.close()


@pytest.mark.slow
def test_a_rolling_restart_of_all_pods_loses_no_attempt_and_no_request(cluster: Cluster) -> None:
    cluster.start(3)
    poster, over = Poster(cluster), threading.Event()
    runs: list[str] = []

    def load() -> None:
        while not over.is_set():
            runs.append(poster.post(len(runs), definition=bwa("work", width=8, seconds=0.2)))

    def replace(old: PodProcess) -> None:
        cluster.start(1)
        assert old.terminate() == 0
        cluster.pods.remove(old)

    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load)
        try:
            for old in list(cluster.pods):
                replace(old)
        finally:
            over.set()
        loading.result()
    assert poster.unknown == 0
    assert {answer.status_code for answer in poster.answers} == {202}
    statuses = [cluster.pods[0].wait_until_finished(run_id) for run_id in runs]
    assert {status["status"] for status in statuses} == {"succeeded"}
    assert sum(task["lost"] for status in statuses for task in status["tasks"]) == 0
    assert {task["attempts"] for status in statuses for task in status["tasks"]} == {1}


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "a connection for each post"])
def test_a_post_that_meets_a_pod_which_is_told_to_stop_is_answered_or_not_taken(cluster: Cluster, keep_alive: bool) -> None:
    [pod] = cluster.start(1)
    answered: list[int] = []
    broken: list[str] = []

    def post_until_refused() -> None:
        with httpx.Client(timeout=20) as kept:
            while True:
                try:
                    answered.append((kept if keep_alive else httpx).post(f"{pod.url}/workflow", json=SMALL).status_code)
                except REFUSED:
                    return
                except UNKNOWN as error:
                    broken.append(repr(error))

    with ThreadPoolExecutor(12) as threads:
        posting = [threads.submit(post_until_refused) for _ in range(12)]
        wait_until(lambda: len(answered) > 50, "posts are answered", 30)
        assert pod.terminate() == 0
        for client in posting:
            client.result()
    assert broken == []
    assert set(answered) == {202}


def test_what_a_stopping_pod_still_runs_starts_elsewhere_before_the_pod_has_ended(cluster: Cluster) -> None:
    """A client that holds its connection to the API must not hold up the tasks."""
    leaving, staying = cluster.start(2)
    run_id = leaving.post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "gate"}}}})
    wait_until(lambda: cluster.lines("attempts"), "the task has started")
    if leaving.pod_id != cluster.lines("attempts")[0][4]:
        leaving, staying = staying, leaving
    leaving.process.terminate()
    wait_until(lambda: len(cluster.lines("attempts")) == 2, "the other pod has started the task", 20)
    assert leaving.alive
    (cluster.folder / "gate").touch()
    assert summary(staying.wait_until_finished(run_id)) == {"held": ("succeeded", 1, 0)}
