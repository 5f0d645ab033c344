"""Metrics of a pod that does not exist, and what a scrape of them says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from engine.errors import StorageUnavailable
from peerflow.metrics import Metrics, PodFacts
from storage.connection import Connections
from storage.ready_queue import LaneDepth, QueueDepths

PARSE_OPENMETRICS = cast("Callable[[str], Iterable[Metric]]", openmetrics.text_string_to_metric_families)  # pyright: ignore[reportUnknownMemberType]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FACTS = PodFacts(
    ready=True,
    storage_answers=True,
    slots=100,
    slots_in_use=7,
    processes=2,
    processes_in_use=1,
    claims_held=9,
    heartbeat_age_seconds=1.5,
    connections={"api": Connections(1, 3)},
    log_lines_dropped=4,
)


@dataclass
class Stand:
    """Metrics, and what their sources answer."""

    facts: PodFacts = FACTS
    depths: QueueDepths = field(default_factory=lambda: QueueDepths([LaneDepth("default", "task_a", 3, 12.5)], 1, 5, 0.001))
    away: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.metrics = Metrics(version="1.2.3", lease_ttl_seconds=10.0, pod=lambda: self.facts, depths=self._read)

    async def _read(self) -> QueueDepths:
        self.asked += 1
        if self.away:
            raise StorageUnavailable("redis://h", "it is away")
        return self.depths

    async def text(self, accept: str = "") -> str:
        return (await self.metrics.scrape(accept))[0].decode()

    async def families(self) -> dict[str, Metric]:
        """By the names that the text format has."""
        text = await self.text()
        # The parser takes the ending of counters away.
        return {f"{found.name}_total" if found.type == "counter" else found.name: found for found in parse_text(text)}

    async def openmetrics(self) -> dict[str, Metric]:
        return {found.name: found for found in PARSE_OPENMETRICS(await self.text(OPENMETRICS))}

    async def samples(self) -> dict[tuple[str, ...], float]:
        """Name and label values → number."""
        return {
            (sample.name, *sample.labels.values()): sample.value for family in (await self.families()).values() for sample in family.samples
        }

    def storage_fails(self) -> None:
        """The pod knows that Redis is away."""
        self.facts = replace(self.facts, ready=False, storage_answers=False)


@pytest.fixture
def stand() -> Stand:
    return Stand()
