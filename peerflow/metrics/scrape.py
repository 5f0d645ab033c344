"""One pod's metrics, from the first count to the answer of a scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.process_collector import ProcessCollector

from peerflow.metrics.depths import RecentDepths
from peerflow.metrics.exposition import TallyCollector
from peerflow.metrics.facts import Facts, PodFacts
from peerflow.metrics.loop_lag import LoopLag
from peerflow.metrics.tally import Tally
from storage.ready_queue import QueueDepths


class Metrics:
    """Counts in `tally`, and answers scrapes. Nothing of it is shared with another pod in the same process."""

    def __init__(
        self,
        *,
        version: str,
        lease_ttl_seconds: float,
        pod: Callable[[], PodFacts],
        depths: Callable[[], Awaitable[QueueDepths]],
    ) -> None:
        """`pod` and `depths` are asked at each scrape; the first answers at once, the second asks Redis."""
        self.tally = Tally()
        self._pod, self._depths = pod, RecentDepths(depths)
        self._collector = TallyCollector(self.tally, version=version, lease_ttl_seconds=lease_ttl_seconds)
        # Not the package's own registry, which is one for the whole process.
        self.registry = CollectorRegistry()
        self.registry.register(self._collector)
        ProcessCollector(registry=self.registry)

    def loop_lag(self) -> LoopLag:
        """To be run beside the pod's loops."""
        return LoopLag(self.tally.loop_lag)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """The answer and its media type, OpenMetrics where the `Accept` header asks for it. Answers without Redis, too."""
        pod = self._pod()
        self._collector.facts = Facts(pod, await self._depths.get() if pod.storage_answers else None)
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # A version that is none: the package compares its parts with numbers.
            encode, media_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        # Some thousand lines take tens of milliseconds.
        return await asyncio.to_thread(encode, self.registry), media_type

    async def close(self) -> None:
        """Before the store closes."""
        await self._depths.close()
