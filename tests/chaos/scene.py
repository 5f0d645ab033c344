"""Pods behind a URL of several servers, and clients that post all the time: what is done to the servers is the test's matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peerflow.testing.checker import check
from peerflow.testing.history import History
from peerflow.testing.records import RunRecord, read_run_over_http
from tests.chaos.campaign.traffic import Client, all_runs, wait_until_all_ended
from tests.support.pods import Cluster
from tests.support.redis_cluster import PASSWORD
from tests.support.waiting import wait_until


class Scene:
    """Two pods."""

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.cluster = Cluster(folder, tasks="tests.support.chaos_tasks", redis_url=url, **settings)
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

    def finish(self, *, rollback: bool) -> tuple[set[str], list[RunRecord]]:
        """Ends the clients, waits for all runs, and has the checker look. Answers the runs that were accepted, and those that there are.

        No pod was harmed, so none may have lost a task.
        """
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join(90)
        assert [client.problem for client in self.clients] == [None] * len(self.clients)
        known = all_runs(self)
        assert wait_until_all_ended(self, known, 40) == []
        records = [read_run_over_http(self.get, run_id) for run_id in known]
        unharmed = [pod.pod_id for pod in self.cluster.pods]
        assert [str(violation) for violation in check(self.history, records, rollback=rollback, unharmed_pods=unharmed)] == []
        assert not [pod.url for pod in self.cluster.pods if PASSWORD in pod.log_text()]
        return {run_id for client in self.clients for run_id in client.runs}, records

    def close(self) -> None:
        self.cluster.close()


def ids(records: Sequence[RunRecord]) -> set[str]:
    return {record.run.run_id for record in records}
