"""What clients of a cluster do when pods die under their requests: they ask another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.errors import StorageError
from peerflow.testing.caller import PodGone
from peerflow.testing.cluster import Cluster

Clients = Callable[[Cluster, str], str]
"""Takes a cluster and an idempotency key that no other run has; posts a run, or more with keys made of it, and answers the run's id."""
POSTS = 5


def post(cluster: Cluster, workflow: Mapping[str, Any], key: str, *, first: int = 0) -> str:
    """Posts as a client does that repeats a request with its key where a pod does not answer; `first` says which pod it asks first."""
    problem: Exception | None = None
    for turn in range(POSTS):
        pods = cluster.living or [cluster.start_pod()]
        try:
            return cluster.submit(workflow, key, through=pods[(first + turn) % len(pods)])
        except (PodGone, StorageError) as error:
            problem = error
    raise AssertionError(f"no pod takes the run: {problem}")


def post_at_once(cluster: Cluster, workflow: Mapping[str, Any], key: str, *, clients: int = 2) -> str:
    """Several clients post the same with the same key at the same time, each to another pod first. All must be told of one run."""
    with ThreadPoolExecutor(clients) as pool:
        told = {posted.result() for posted in [pool.submit(post, cluster, workflow, key, first=number) for number in range(clients)]}
    if len(told) != 1:
        raise AssertionError(f"S10: one key was answered with the runs {sorted(told)}")
    return told.pop()


def cancel(cluster: Cluster, run_id: str, *, not_through: str = "") -> str:
    """Cancels a run, asking one living pod after the other but `not_through`; a client of its own where none of them answers.

    Answers the run's state. Raises RunAlreadyFinished.
    """
    for pod in [pod for pod in cluster.living if pod.name != not_through]:
        try:
            return cluster.cancel(run_id, through=pod)
        except (PodGone, StorageError):
            continue
    return cluster.cancel(run_id)
