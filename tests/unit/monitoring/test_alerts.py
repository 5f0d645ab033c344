"""Alerts ask for series that exist, say what to do, and fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.markdown import anchors, sections, text_of
from tests.support.pods import ROOT
from tests.support.promql import TARGET, asked

FILE = ROOT / "deploy" / "monitoring" / "alerts.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
PAGE = "docs/monitoring.md"
PROMTOOL = shutil.which("promtool")

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@each_alert
def test_an_alert_asks_for_series_that_exist_and_for_what_they_can_tell(alert: dict[str, Any]) -> None:
    found = asked(alert["expr"])
    assert found
    assert [problem for asks in found for problem in asks.problems()] == []


@each_alert
def test_an_alert_says_what_is_and_what_to_do_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert len(re.sub(r"\{\{.*?\}\}", "", notes["summary"])) <= 70
    assert not notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    page, _, anchor = notes["runbook"].partition("#")
    assert page == PAGE
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(text_of(page))


@each_alert
def test_a_label_that_a_text_names_is_there(alert: dict[str, Any]) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    for asks in asked(alert["expr"]):
        left = asks.groups[0] if asks.groups else TARGET
        assert used <= left, asks


def test_alerts_and_their_remedies_in_the_documentation_are_the_same() -> None:
    documented = sections(text_of(PAGE), "### ")
    assert [name for name in documented if name.startswith("Peerflow")] == [alert["alert"] for alert in ALERTS]
    assert all(len(documented[alert["alert"]].split()) >= 15 for alert in ALERTS)


def test_an_alert_for_each_worst_day() -> None:
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)
    watched = {asks.series for alert in ALERTS for asks in asked(alert["expr"])}
    assert watched >= {
        "peerflow_ready", "peerflow_queue_oldest_task_age_seconds", "peerflow_commits_refused_total", "peerflow_limbo_repairs_total",
        "peerflow_tasks_reaped_total", "peerflow_heartbeat_age_seconds", "peerflow_storage_up",
        "peerflow_storage_call_duration_seconds_bucket", "peerflow_event_loop_lag_seconds_bucket", "peerflow_runs_finished_total",
        "peerflow_http_requests_total",
    }  # fmt: skip


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian's package prometheus has it")
@pytest.mark.parametrize("arguments", [("check", "rules", FILE), ("test", "rules", Path(__file__).with_name("alerts.test.yaml"))], ids=str)
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(arguments: tuple[str | Path, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
