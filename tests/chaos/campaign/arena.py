"""What a round breaks: one Redis, and places for pods, each with a proxy in front of Redis that stays when its pod is replaced."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from peerflow.testing.history import History
from tests.support.pods import Cluster, PodProcess
from tests.support.proxy import Proxy
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until

PLACES = 3
END_SECONDS = 30.0
"""How long a pod that was told to stop may take, whatever its grace, once nothing is broken any more."""


class Place:
    """Where one pod is at a time."""

    def __init__(self, cluster: Cluster, proxy: Proxy, grace_seconds: float) -> None:
        self._cluster, self.proxy, self.grace_seconds = cluster, proxy, grace_seconds
        self.pod = self._launch()
        self._pod_id = ""
        self.earlier: list[PodProcess] = []
        """Pods that are on their way out, or dead."""

    def _launch(self) -> PodProcess:
        return self._cluster.launch(redis_url=self.proxy.url, grace_seconds=f"{self.grace_seconds:g}")

    @property
    def pod_id(self) -> str:
        """Of the pod that is there now; empty while it has not been asked for with success."""
        if not self._pod_id:
            try:
                detail: dict[str, Any] = httpx.get(f"{self.pod.url}/readyz", timeout=0.5).json()["detail"]
            except (httpx.TransportError, ValueError, KeyError):
                return ""
            self._pod_id = str(detail.get("pod_id", "")) if isinstance(detail, dict) else ""  # pyright: ignore[reportUnnecessaryIsInstance]
        return self._pod_id

    def replace(self) -> None:
        """Another pod takes the place, with a network that works; the one before has been killed, or told to stop."""
        self.proxy.heal()
        self.earlier.append(self.pod)
        self.pod, self._pod_id = self._launch(), ""


class Arena:
    """All of one round. Everything ends with `close`, whatever state it is in."""

    def __init__(self, folder: Path, ttl_seconds: float, graces: list[float]) -> None:
        folder.mkdir(parents=True)
        (folder / "redis").mkdir()
        self.folder, self.ttl_seconds = folder, ttl_seconds
        self.history = History(folder / "history.jsonl")
        self._exits = ExitStack()
        self.redis = RedisProcess(folder / "redis")
        self._exits.callback(self.redis.close)
        self.redis.start()
        self.cluster = Cluster(
            folder, tasks="tests.support.chaos_tasks", redis_url=self.redis.url, lease_ttl_seconds=f"{ttl_seconds:g}", concurrency="30"
        )
        proxies = [self._exits.enter_context(Proxy(self.redis.url, seed=number)) for number in range(len(graces))]
        self._exits.callback(self.cluster.close)
        self.places = [Place(self.cluster, proxy, grace) for proxy, grace in zip(proxies, graces, strict=True)]
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        for place in self.places:
            wait_until(lambda: place.pod_id and place.pod.is_ready(), f"{place.pod.url} is ready", 60)  # noqa: B023  (used at once)

    def pod_urls(self) -> list[str]:
        return [place.pod.url for place in self.places]

    def get(self, path: str, /, **params: str) -> Any:
        """GET from a pod that answers."""
        return self.places[0].pod.get(path, **params)

    def unstopped(self) -> list[str]:
        """Logs of pods that were told to stop, or killed, and still live half a minute after everything was healed."""
        left = [pod for place in self.places for pod in place.earlier]

        def alive() -> list[str]:
            return [str(pod.log) for pod in left if pod.alive]

        try:
            wait_until(lambda: not alive(), "all pods that were told to stop have ended", END_SECONDS)
        except AssertionError:
            return alive()
        return []

    def close(self) -> None:
        (self.folder / "open").touch()
        self._exits.close()
