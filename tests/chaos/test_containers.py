"""Pods in containers of the product's own image (T4): killed, paused, cut off, starved and replaced by the container engine."""

# Docker's client does not annotate what it answers.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from examples.generate import bwa
from tests.chaos.test_pods_die import assert_each_task_ended_once
from tests.support.containers import Fleet, PodContainer, build_image
from tests.support.stage import summary
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

TTL_SECONDS = 2.0
SMALL = {"steps": [{"type": "parallel", "tasks": ["noop", "noop"]}, {"type": "sequential", "tasks": ["noop"]}]}


@pytest.fixture(scope="module")
def lasting_fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    build_image()
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()


@pytest.fixture
def fleet(lasting_fleet: Fleet) -> Fleet:
    lasting_fleet.fresh()
    return lasting_fleet


def held_by(fleet: Fleet, pods: list[PodContainer], gate: str) -> tuple[str, PodContainer, PodContainer]:
    """Posts a task that waits for the gate in its first attempt. Answers the run, the pod that runs it, and the other one."""
    task = {"task": "hold_first_attempt", "args": {"gate": gate}}
    run_id = pods[0].post({"tasks": {"held": task, "after": {"task": "work", "depends_on": ["held"]}}})
    wait_until(lambda: starts(fleet, run_id), "the task has started", 20)
    owner, other = sorted(pods, key=lambda pod: pod.pod_id != starts(fleet, run_id)[0])
    return run_id, owner, other


def starts(fleet: Fleet, run_id: str) -> list[str]:
    """The pods on which the task `held` has started, in order."""
    return [line[4] for line in fleet.lines("attempts") if line[:2] == [run_id, "held"]]


def kill(fleet: Fleet, pod: PodContainer) -> Callable[[], None]:
    pod.container.kill()
    return lambda: None


def pause(fleet: Fleet, pod: PodContainer) -> Callable[[], None]:
    pod.container.pause()
    return pod.container.unpause


def disconnect(fleet: Fleet, pod: PodContainer) -> Callable[[], None]:
    fleet.cut(pod)
    return lambda: fleet.reconnect(pod)


@pytest.mark.parametrize("fault", [kill, pause, disconnect])
def test_a_pod_that_is_gone_for_longer_than_its_lease_is_replaced(
    fleet: Fleet, fault: Callable[[Fleet, PodContainer], Callable[[], None]]
) -> None:
    pods = [fleet.pod(), fleet.pod()]
    run_id, owner, other = held_by(fleet, pods, f"gate-{fault.__name__}")
    mend = fault(fleet, owner)
    status = other.wait_until_finished(run_id, 30)
    (fleet.folder / f"gate-{fault.__name__}").touch()
    assert summary(status) == {"held": ("succeeded", 2, 1), "after": ("succeeded", 1, 0)}
    assert_each_task_ended_once(other, run_id, status)
    mend()
    if fault is not kill:
        wait_until(lambda: owner.logged("commit_refused") or owner.logged("lease_lost"), "what the zombie finished is refused", 30)
        wait_until(owner.is_ready, "the pod is ready again", 30)
        again = other.post(SMALL)
        assert owner.wait_until_finished(again)["status"] == "succeeded"
    assert other.get(f"/workflow_status/{run_id}") == status


@pytest.mark.long
def test_a_pod_that_loses_its_network_for_a_moment_keeps_its_task(fleet: Fleet) -> None:
    pods = [fleet.pod(), fleet.pod()]
    run_id, owner, other = held_by(fleet, pods, "moment")
    fleet.cut(owner)
    fleet.reconnect(owner)
    wait_until(owner.is_ready, "the pod is ready again", 30)
    (fleet.folder / "moment").touch()
    status = other.wait_until_finished(run_id)
    assert summary(status) == {"held": ("succeeded", 1, 0), "after": ("succeeded", 1, 0)}


def test_a_pod_that_hears_nothing_from_redis_keeps_what_redis_knows_it_runs(fleet: Fleet) -> None:
    proxy = fleet.proxy()
    pods = [fleet.pod(redis="proxy")]
    run_id = pods[0].post({"tasks": {"held": {"task": "hold_first_attempt", "args": {"gate": "deaf"}}}})
    wait_until(lambda: starts(fleet, run_id), "the task has started", 20)
    other = fleet.pod()
    proxy.kill("SIGUSR1")
    wait_until(lambda: not pods[0].is_ready(), "the pod notices", 20)
    assert other.wait_until_finished(other.post(SMALL), 20)["status"] == "succeeded"
    proxy.kill("SIGUSR2")
    wait_until(pods[0].is_ready, "the pod is ready again", 30)
    (fleet.folder / "deaf").touch()
    assert other.wait_until_finished(run_id)["status"] == "succeeded"


@pytest.mark.long
def test_a_pod_without_a_cpu_costs_time_and_nothing_else(fleet: Fleet) -> None:
    pods = [fleet.pod(concurrency=8), fleet.pod(concurrency=8)]
    runs = [pod.post(bwa("work", width=40, seconds=0.3)) for pod in pods]
    wait_until(lambda: len({line[4] for line in fleet.lines("attempts") if line[0] in runs}) == 2, "both pods work", 30)
    # A hundredth of a CPU, in slices of a millisecond each tenth of a second.
    pods[0].container.update(cpu_period=100_000, cpu_quota=1_000)
    statuses = [pods[1].wait_until_finished(run_id, 90) for run_id in runs]
    pods[0].container.update(cpu_period=100_000, cpu_quota=-1)
    for run_id, status in zip(runs, statuses, strict=True):
        assert status["status"] == "succeeded"
        assert_each_task_ended_once(pods[1], run_id, status)
    wait_until(pods[0].is_ready, "the starved pod is ready again", 60)


def test_a_task_that_eats_its_pods_memory_fails_after_max_lost_and_others_go_on(fleet: Fleet) -> None:
    limits: dict[str, Any] = {"mem_limit": "200m", "memswap_limit": "200m", "restart_policy": {"Name": "always"}}
    small = [fleet.pod(tasks="tests.support.pod_tasks,tests.support.hostile_tasks", **limits) for _ in range(2)]
    witness = fleet.pod()
    run_id = small[0].post({"tasks": {"hog": {"task": "eats_memory"}, "healthy": {"task": "work"}}})
    status = witness.wait_until_finished(run_id, 120)
    assert summary(status)["healthy"][0] == "succeeded"
    assert summary(status)["hog"] == ("failed", 4, 4)
    hog = next(task for task in status["tasks"] if task["id"] == "hog")
    assert hog["error"]["type"] == "Lost"
    assert sum(line[:2] == [run_id, "hog"] for line in fleet.lines("attempts")) == 4
    assert sum(pod.container.attrs["RestartCount"] for pod in small if pod.state()) >= 4
    assert witness.wait_until_finished(witness.post(SMALL))["status"] == "succeeded"


@pytest.mark.long
def test_docker_stop_gives_tasks_back_uncharged_and_ends_with_status_0(fleet: Fleet) -> None:
    pods = [fleet.pod(), fleet.pod()]
    run_id, owner, other = held_by(fleet, pods, "stop")
    owner.container.stop(timeout=20)
    assert (owner.state()["ExitCode"], owner.state()["OOMKilled"]) == (0, False)
    wait_until(lambda: len(starts(fleet, run_id)) == 2, "the other pod has started the task", 20)
    (fleet.folder / "stop").touch()
    assert summary(other.wait_until_finished(run_id))["held"] == ("succeeded", 1, 0)


@pytest.mark.long
def test_a_rolling_restart_of_containers_loses_no_attempt_and_no_post(fleet: Fleet) -> None:
    pods = [fleet.pod(), fleet.pod()]
    over, runs, refused = threading.Event(), list[str](), list[str]()

    def load() -> None:
        number = 0
        while not over.is_set():
            number += 1
            answer = _post_to_any(pods, f"post {number}")
            if answer.status_code == 202:
                runs.append(answer.json()["run_id"])
            else:
                refused.append(answer.text)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        for old in list(pods):
            pods.append(fleet.pod())
            old.container.stop(timeout=20)
            pods.remove(old)
    finally:
        over.set()
        loading.join(30)
    assert refused == []
    statuses = [pods[0].wait_until_finished(run_id) for run_id in runs]
    assert {status["status"] for status in statuses} == {"succeeded"}
    assert {(task["attempts"], task["lost"]) for status in statuses for task in status["tasks"]} == {(1, 0)}


def _post_to_any(pods: list[PodContainer], key: str) -> httpx.Response:
    """Asks one pod after the other until one answers; a run that an earlier one has made is found by the key."""
    for pod in itertools.cycle(list(pods)):
        with contextlib.suppress(httpx.TransportError):
            # The engine's own forwarder takes connections to a port behind which nobody listens any more, and resets them.
            return httpx.post(f"{pod.url}/workflow", json=bwa("work", width=5, seconds=0.2), headers={"Idempotency-Key": key}, timeout=20)
    raise AssertionError("there are no pods")


def test_an_old_pod_neither_takes_nor_drops_a_task_that_only_a_newer_one_knows(fleet: Fleet) -> None:
    newer = "tests.support.pod_tasks,tests.support.hostile_tasks"
    old, new = fleet.pod(), fleet.pod(tasks=newer)
    held = {"task": "hold", "args": {"gate": "versions"}}
    run_id = old.post({"tasks": {"held": held, "new": {"task": "forks", "depends_on": ["held"]}, "both": {"task": "work"}}})
    wait_until(lambda: starts(fleet, run_id), "the task has started", 20)
    new.container.stop(timeout=20)
    (fleet.folder / "versions").touch()
    wait_until(lambda: summary(old.get(f"/workflow_status/{run_id}"))["held"][0] == "succeeded", "the old pod runs what it knows", 20)
    later = old.post({"steps": [{"type": "sequential", "tasks": ["noop"] * 5}]})
    old.wait_until_finished(later)
    assert summary(old.get(f"/workflow_status/{run_id}"))["new"] == ("ready", 0, 0)
    newest = fleet.pod(tasks=newer)
    status = old.wait_until_finished(run_id, 30)
    assert summary(status)["new"] == ("succeeded", 1, 0)
    assert [event["pod"] for event in old.events(run_id) if event["type"] == "task_started" and event["task"] == "new"] == [newest.pod_id]
