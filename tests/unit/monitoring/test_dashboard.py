"""The dashboard asks for series that exist, and can be read."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from peerflow.metrics.catalogue import FAMILIES
from tests.support.pods import ROOT
from tests.support.promql import asked

DASHBOARD = cast("dict[str, Any]", json.loads((ROOT / "deploy" / "monitoring" / "dashboard.json").read_text(encoding="utf-8")))
PANELS = cast("list[dict[str, Any]]", DASHBOARD["panels"])
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
ROWS = ["Overview", "Runs", "Queues", "Pods", "Redis"]
UNITS = {"none", "short", "s", "ops", "reqps", "bool", "percentunit", "bytes"}

each_panel = pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def names(query: str) -> set[str]:
    """Families that a query asks for."""
    known = {family.name for family in FAMILIES}
    endings = ("", "_bucket", "_count", "_sum")
    return {name for asks in asked(query) for end in endings if (name := asks.series.removesuffix(end)) in known}


@each_panel
def test_a_panel_asks_for_series_that_exist_and_for_what_they_can_tell(panel: dict[str, Any]) -> None:
    for query in queries(panel):
        assert [problem for asks in asked(query) for problem in asks.problems()] == [], query


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    seconds = [asks for query in queries(panel) for asks in asked(query) if asks.series.endswith(("_seconds", "_seconds_bucket"))]
    if len(seconds) == sum(len(asked(query)) for query in queries(panel)):
        assert panel["fieldConfig"]["defaults"]["unit"] == "s"


@each_panel
def test_a_panel_takes_its_data_from_the_source_that_is_chosen_and_the_pods_that_are(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert all("namespace" in asks.labels for asks in asked(target["expr"]))
        assert target["expr"].count("namespace=~") == target["expr"].count('namespace=~"$namespace"')


def test_every_family_is_on_the_dashboard() -> None:
    shown = {name for panel in SHOWN for query in queries(panel) for name in names(query)}
    assert {family.name for family in FAMILIES} == shown


def test_rows_come_in_order_and_panels_do_not_overlap() -> None:
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_variables_choose_source_namespace_and_pod() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "pod"]
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("namespace", "pod"):
        assert variables[name]["definition"].startswith("label_values(peerflow_build_info")
        # Also where Prometheus gives targets no such label.
        assert variables[name]["allValue"] == ".*"


def test_what_is_noted_on_all_panels_exists_too() -> None:
    (note,) = DASHBOARD["annotations"]["list"]
    assert [problem for asks in asked(note["expr"]) for problem in asks.problems()] == []
