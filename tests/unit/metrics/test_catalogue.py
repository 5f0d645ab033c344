"""Names as Prometheus' practices want them, and as few labels as will do."""

from __future__ import annotations

import re

import pytest

from peerflow.metrics.catalogue import FAMILIES, Family

BASE_UNITS = ("_seconds", "_bytes", "_info")
NOT_BASE = ("milli", "micro", "_ms", "_minutes", "_hours", "_percent", "_kib", "_mib", "_kilo")
COUNTED_GAUGES = {
    "peerflow_runs_live", "peerflow_queue_ready_tasks", "peerflow_queue_lanes_omitted", "peerflow_storage_up",
    "peerflow_storage_connections_in_use", "peerflow_storage_connections_open", "peerflow_ready", "peerflow_slots", "peerflow_slots_in_use",
    "peerflow_process_slots", "peerflow_process_slots_in_use", "peerflow_claims_held",
}  # fmt: skip
"""Gauges of things that are counted, which have no unit."""
LABELS = {
    "state", "queue", "function", "outcome", "reason", "result", "script", "pool", "version", "python", "loop", "method", "route", "status",
}  # fmt: skip
"""None of them is a number of something that users make: runs, tasks, callers."""

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_no_name_is_there_twice() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 40


@each_family
def test_a_name_says_whose_it_is_what_it_counts_and_in_which_unit(family: Family) -> None:
    assert re.fullmatch(r"peerflow_[a-z]+(_[a-z]+)*", family.name)
    assert not any(word in family.name for word in NOT_BASE)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not family.name.endswith(("_count", "_sum", "_bucket", "_created"))
    if family.kind == "histogram":
        assert family.name.endswith(BASE_UNITS)
    if family.kind == "gauge":
        assert family.name.endswith(BASE_UNITS) != (family.name in COUNTED_GAUGES)


@each_family
def test_labels_are_words_of_which_there_are_few(family: Family) -> None:
    assert set(family.labels) <= LABELS
    assert len(family.labels) <= 3
    assert not {"le", "job", "instance", "namespace", "pod"} & set(family.labels)


@each_family
def test_a_family_says_in_a_sentence_what_it_is(family: Family) -> None:
    assert family.meaning.endswith(".") or family.kind == "gauge"
    assert "\n" not in family.meaning


@each_family
def test_bounds_of_a_histogram_ascend(family: Family) -> None:
    assert bool(family.bounds) == (family.kind == "histogram")
    assert list(family.bounds) == sorted(set(family.bounds))
    assert len(family.bounds) <= 13
