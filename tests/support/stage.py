"""Two pods, each with a proxy of its own between it and the one Redis, so that a test can do to either what networks do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.pods import Cluster, PodProcess
from tests.support.proxy import Fault, Proxy, Rule
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until

QUEUES = ("first", "second")
"""Besides `default`, each pod serves a queue of its own, so that a test can say whose a task is."""


@dataclass(frozen=True, slots=True)
class Stage:
    cluster: Cluster
    redis: RedisProcess
    pods: tuple[PodProcess, PodProcess]
    proxies: tuple[Proxy, Proxy]

    def on(self, name: str | None, fault: Fault, *, after: int = 0, times: int | None = 1) -> list[Rule]:
        """Plans the fault for both pods."""
        return [proxy.on(name, fault, after=after, times=times) for proxy in self.proxies]

    def owner_of(self, run_id: str, task_id: str) -> int:
        """The number of the pod that has started the task's latest attempt, once one has."""
        lines = wait_until(
            lambda: [line for line in self.cluster.lines("attempts") if line[:2] == [run_id, task_id]], f"{task_id} has started", 20
        )
        return [pod.pod_id for pod in self.pods].index(lines[-1][4])

    def starts(self, run_id: str) -> Counter[str]:
        """How often the code of each task of the run has started."""
        return Counter(line[1] for line in self.cluster.lines("attempts") if line[0] == run_id)

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()
        wait_until(lambda: all(pod.is_ready() for pod in self.pods), "both pods are ready again", 30)


@contextmanager
def staged(folder: Path, **settings: str) -> Generator[Stage]:
    """Starts all of it; at the end nothing is left."""
    (folder / "redis").mkdir()
    with ExitStack() as exits:
        redis = RedisProcess(folder / "redis")
        exits.callback(redis.close)
        redis.start()
        proxies = (exits.enter_context(Proxy(redis.url)), exits.enter_context(Proxy(redis.url)))
        cluster = Cluster(folder, **settings)
        exits.callback(cluster.close)
        for proxy, queue in zip(proxies, QUEUES, strict=True):
            cluster.launch(redis_url=proxy.url, queues=f"default,{queue}")
        for pod in cluster.pods:
            pod.wait_until_ready()
        yield Stage(cluster, redis, (cluster.pods[0], cluster.pods[1]), proxies)


def summary(status: dict[str, Any]) -> dict[str, tuple[str, int, int]]:
    """Task id → state, attempts, lost attempts."""
    return {task["id"]: (task["status"], task["attempts"], task["lost"]) for task in status["tasks"]}
