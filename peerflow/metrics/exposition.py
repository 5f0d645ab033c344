"""Turns what was counted, and what is known at this moment, into prometheus-client's families."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from peerflow.metrics import catalogue
from peerflow.metrics.catalogue import Family
from peerflow.metrics.facts import Facts, PodFacts
from peerflow.metrics.instruments import Labels
from peerflow.metrics.tally import Tally
from storage.ready_queue import QueueDepths

QUEUES_SEEN = 500
"""Pairs of queue and function that are told as 0 once they are empty."""


class TallyCollector(Collector):
    """All families of the catalogue, those without a series too."""

    def __init__(self, tally: Tally, *, version: str, lease_ttl_seconds: float) -> None:
        self._tally, self._version, self._lease_ttl_seconds = tally, version, lease_ttl_seconds
        self._lanes: dict[Labels, None] = {}
        self.facts = Facts(PodFacts(ready=False, storage_answers=False), None)
        """Set before each collection."""

    def collect(self) -> Iterator[Metric]:
        gauges = self._gauges()
        for family in catalogue.FAMILIES:
            if family.kind == "histogram":
                yield self._histogram(family)
            elif family.kind == "gauge":
                yield _gauge(family, gauges.get(family, []))
            elif family is catalogue.CLAIMS:
                waits = self._tally.histograms[catalogue.QUEUE_WAIT].read()
                yield _counter(family, [(labels, sum(counts)) for labels, counts, _ in waits])
            elif family is catalogue.LOG_DROPPED:
                yield _counter(family, [((), self.facts.pod.log_lines_dropped)])
            else:
                yield _counter(family, self._tally.counts[family].read())

    def _histogram(self, family: Family) -> Metric:
        metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        bounds = [*(f"{bound:g}" if bound % 1 else f"{bound:.1f}" for bound in family.bounds), "+Inf"]
        for labels, counts, total in self._tally.histograms[family].read():
            metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        return metric

    def _gauges(self) -> dict[Family, list[tuple[Labels, float]]]:
        pod, depths = self.facts.pod, self.facts.depths
        found: dict[Family, list[tuple[Labels, float]]] = {
            catalogue.BUILD: [((self._version, platform.python_version()), 1)],
            catalogue.LEASE_TTL: [((), self._lease_ttl_seconds)],
            catalogue.READY: [((), pod.ready)],
            catalogue.STORAGE_UP: [((), pod.storage_answers and depths is not None)],
            catalogue.SLOTS: [((), pod.slots)],
            catalogue.SLOTS_IN_USE: [((), pod.slots_in_use)],
            catalogue.PROCESSES: [((), pod.processes)],
            catalogue.PROCESSES_IN_USE: [((), pod.processes_in_use)],
            catalogue.CLAIMS_HELD: [((), pod.claims_held)],
            catalogue.CONNECTIONS_IN_USE: [((pool,), told.in_use) for pool, told in pod.connections.items()],
            catalogue.CONNECTIONS_OPEN: [((pool,), told.open) for pool, told in pod.connections.items()],
        }
        if pod.heartbeat_age_seconds is not None:
            found[catalogue.HEARTBEAT_AGE] = [((), pod.heartbeat_age_seconds)]
        return found if depths is None else found | self._queues(depths)

    def _queues(self, depths: QueueDepths) -> dict[Family, list[tuple[Labels, float]]]:
        told = {(lane.queue, lane.function): lane for lane in depths.lanes}
        # A lane that has been seen goes on as 0, so that a graph falls to the ground instead of ending in the air.
        for labels in told:
            if len(self._lanes) < QUEUES_SEEN:
                self._lanes[labels] = None
        empty: list[tuple[Labels, float]] = [(labels, 0) for labels in self._lanes if labels not in told]
        return {
            catalogue.QUEUE_READY: [(labels, lane.ready) for labels, lane in told.items()] + empty,
            catalogue.QUEUE_AGE: [(labels, lane.oldest_seconds) for labels, lane in told.items()] + empty,
            catalogue.QUEUE_OMITTED: [((), depths.lanes_left_out)],
            catalogue.RUNS_LIVE: [((), depths.live_runs)],
            catalogue.STORAGE_ROUND_TRIP: [((), depths.round_trip_seconds)],
        }


def _counter(family: Family, series: Iterable[tuple[Labels, float]]) -> Metric:
    metric = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, value in series:
        metric.add_metric(labels, value)
    return metric


def _gauge(family: Family, series: Iterable[tuple[Labels, float]]) -> Metric:
    metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, value in series:
        metric.add_metric(labels, float(value))
    return metric
