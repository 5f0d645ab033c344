"""docs/monitoring.md explains the metrics that exist, and no others."""

from __future__ import annotations

import re
import sys

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from engine.observer import End
from peerflow.metrics.catalogue import FAMILIES
from peerflow.settings import Settings
from tests.support.markdown import ROOT, blocks, rows, sections, text_of

PAGE = "docs/monitoring.md"


def test_every_metric_is_documented_with_its_type_and_its_labels() -> None:
    documented = [cells for cells in rows(text_of(PAGE)) if cells[0].startswith("`peerflow_")]
    assert {(cells[0].strip("`"), cells[1], tuple(re.findall(r"`(\w+)`", cells[2]))) for cells in documented} == {
        (family.name, family.kind, family.labels) for family in FAMILIES
    }
    assert len(documented) == len(FAMILIES)
    assert all(cells[3] for cells in documented)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_metrics_of_the_process_are_documented() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    there = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in registry.collect()}
    assert set(re.findall(r"`(process_\w+)`", text_of(PAGE))) == there


def test_every_end_of_an_attempt_is_documented() -> None:
    assert [cells[0].strip("`") for cells in rows(sections(text_of(PAGE), "### ")["Outcomes"])][1:] == [end.value for end in End]


def test_every_series_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bpeerflow_[a-z_]+\b", text_of(PAGE)))
    assert named <= {family.name for family in FAMILIES}


def test_the_configuration_of_prometheus_gives_the_labels_that_alerts_and_dashboard_expect() -> None:
    (block,) = blocks(ROOT / PAGE, "yaml")
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    assert job["job_name"] == "peerflow"
    assert {relabel["target_label"] for relabel in job["relabel_configs"]} == {"pod"}
    assert all("namespace" in targets["labels"] for targets in job["static_configs"])


def test_metrics_are_on_by_default() -> None:
    assert Settings().metrics is True
