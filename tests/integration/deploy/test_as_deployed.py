"""Redis and a pod run in Docker exactly as the manifests say: users, read-only roots, no capabilities, commands, probes."""

# Docker's client does not annotate what it answers.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import copy
import shutil
import subprocess
from typing import Any

import httpx
import pytest

from tests.integration.deploy.conftest import PASSWORD, StartCluster
from tests.support.manifests.kubelet import Cluster, RunningPod
from tests.support.manifests.objects import Workload, by_name
from tests.support.manifests.walkthrough import command_with
from tests.support.pod_client import PodClient
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

TASKS = {"tasks": {"a": {"task": "task_a"}, "b": {"task": "task_b", "depends_on": ["a"]}}}


def workload(cluster: Cluster, name: str) -> Workload:
    return Workload(by_name(cluster.objects, name))


def start_redis(cluster: Cluster) -> RunningPod:
    redis = cluster.start(workload(cluster, "StatefulSet/peerflow-redis"), alias="peerflow-redis")
    wait_until(lambda: redis.probe("startupProbe")[0], "Redis has started", 60)
    return redis


def answers(pod: RunningPod, path: str) -> int:
    try:
        return httpx.get(pod.url() + path, timeout=5).status_code
    except (httpx.TransportError, LookupError):
        return 0


def ask(redis: RunningPod, command: str, *, user: str = "peerflow", password: str = PASSWORD) -> str:
    flags = redis.container.exec_run(["sh", "-c", 'printf %s "$REDIS_CLI_FLAGS"']).output.decode()
    words = ["redis-cli", *flags.split(), "--no-auth-warning", "--user", user, "--pass", password, *command.split()]
    return redis.container.exec_run(words).output.decode().strip()


@pytest.mark.parametrize("folder", [pytest.param("base", marks=pytest.mark.long), "redis-tls"])
def test_a_run_succeeds_and_outlives_the_pod_of_redis(folder: str, start_cluster: StartCluster) -> None:
    cluster = start_cluster(folder)
    redis = start_redis(cluster)
    pod = cluster.start(workload(cluster, "Deployment/peerflow"), alias="peerflow")
    wait_until(lambda: answers(pod, "/healthz") == 200, "the startup probe succeeds", 60)
    wait_until(lambda: answers(pod, "/readyz") == 200, "the readiness probe succeeds", 60)
    client = PodClient(pod.url())
    cluster.exits.callback(client.http.close)
    run_id = client.post(TASKS)
    assert client.wait_until_finished(run_id)["status"] == "succeeded"

    # The pod is deleted at once and another one gets its volume; as a name leads to it, the alias does.
    redis.container.kill()
    wait_until(lambda: answers(pod, "/readyz") == 503, "the pod is not ready without Redis", 60)
    assert answers(pod, "/healthz") == 200
    again = start_redis(cluster)
    assert again.probe("readinessProbe")[0]
    wait_until(lambda: answers(pod, "/readyz") == 200, "the pod is ready again", 60)
    assert client.get(f"/runs/{run_id}")["status"] == "succeeded"

    pod.container.stop(timeout=workload(cluster, "Deployment/peerflow").pod["terminationGracePeriodSeconds"])
    pod.container.reload()
    assert pod.container.attrs["State"]["ExitCode"] == 0, pod.container.logs().decode()
    refusals = [line for line in pod.container.logs().decode().splitlines() if "NOPERM" in line or "no permissions" in line]
    assert refusals == []


def test_redis_keeps_its_promises_and_answers_nobody_without_the_password(start_cluster: StartCluster) -> None:
    redis = start_redis(start_cluster("base"))
    persistence = ask(redis, "info persistence")
    assert "aof_enabled:1" in persistence
    memory = ask(redis, "info memory")
    assert "maxmemory_policy:noeviction" in memory
    assert "maxmemory:1073741824" in memory
    assert "WRONGPASS" in ask(redis, "ping", password="0" * 64)
    assert "WRONGPASS" in ask(redis, "ping", user="default")
    for command in ("flushall", "config get *", "acl list", "get other:key", "shutdown", "keys *", "client kill user x"):
        assert "NOPERM" in ask(redis, command), command
    alone = redis.container.exec_run(["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]).output.decode()
    assert "NOAUTH" in alone


def test_redis_is_alive_and_not_ready_for_whoever_has_another_password(start_cluster: StartCluster) -> None:
    """A Secret that was changed is no reason to restart a server that answers."""
    redis = start_redis(start_cluster("base"))
    for probe, succeeds in (("livenessProbe", True), ("readinessProbe", False)):
        done = redis.container.exec_run(redis.spec[probe]["exec"]["command"], environment={"REDISCLI_AUTH": "0" * 64})
        assert (done.exit_code == 0) is succeeds, done.output
    redis.container.kill(signal="SIGSTOP")
    frozen = redis.container.exec_run(["timeout", "3", *redis.spec["livenessProbe"]["exec"]["command"]])
    redis.container.kill(signal="SIGCONT")
    assert frozen.exit_code != 0


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("change-me-before-use", "a placeholder"),
        ("the-Password-of-redis", "a placeholder"),
        ("0123456789abcde", "fewer than 16 characters"),
        ("", "fewer than 16 characters"),
        ("0123456789/abcdef@x", "may only have the characters"),
    ],
)
def test_redis_does_not_start_with_a_password_that_is_none(password: str, said: str, start_cluster: StartCluster) -> None:
    cluster = start_cluster("base")
    cluster.secrets["peerflow-redis"]["password"] = password
    with pytest.raises(AssertionError, match=said):
        cluster.start(workload(cluster, "StatefulSet/peerflow-redis"), alias="peerflow-redis")


def test_a_pod_writes_nowhere_but_to_tmp(start_cluster: StartCluster) -> None:
    cluster = start_cluster("base")
    owner: Any = copy.deepcopy(workload(cluster, "Deployment/peerflow").owner)
    code = "import os; open('/tmp/x', 'w').close(); print(os.getuid(), os.getgid()); open('/app/x', 'w')"
    owner["spec"]["template"]["spec"]["containers"][0]["command"] = ["python", "-c", code]
    pod = cluster.start(Workload(owner), alias="peerflow")
    assert pod.container.wait(timeout=60)["StatusCode"] == 1
    log = pod.container.logs().decode()
    assert "10001 10001" in log
    assert "Read-only file system" in log


def test_a_backup_made_as_documented_brings_the_runs_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster("base")
    redis = start_redis(cluster)
    assert ask(redis, "hset {pf:0}:run:x state succeeded") == "1"
    backup = inside_pod("> backup.tar")
    made = redis.container.exec_run(["sh", "-c", backup], demux=True)
    assert made.exit_code == 0, made.output[1]
    redis.container.kill()

    claim = cluster.folder / "claim-data"
    shutil.rmtree(claim / "appendonlydir")
    restore = inside_pod("< backup.tar").replace("/data", str(claim))
    subprocess.run(["sh", "-c", restore], input=made.output[0], check=True, timeout=30)
    assert ask(start_redis(cluster), "hget {pf:0}:run:x state") == "succeeded"


def inside_pod(word: str) -> str:
    """What the documented command with this word runs in a pod."""
    return command_with(word).partition("sh -c '")[2].partition("'")[0]
