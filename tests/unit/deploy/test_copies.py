"""Parts of the manifests that are made of other files are what these files say."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.manifests import objects
from tests.support.pods import ROOT

HASH = "#" + "0" * 64


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifests", ROOT / ".ci" / "manifests.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rules_of_redis() -> list[str]:
    text: str = objects.by_name(objects.rendered("base"), "ConfigMap/peerflow-redis-1")["data"]["users.acl"]
    return text.splitlines()


def test_the_copies_are_what_they_are_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert load().main(["--check"]) == 0, capsys.readouterr().out


def test_a_copy_that_differs_is_seen() -> None:
    config = (ROOT / "deploy/k8s/base/30-redis-config.yaml").read_text(encoding="utf-8")
    changed = load().acl(config, f"user default off\nuser peerflow reset on {HASH} ~{{pf}}:* +get\n")
    assert "    user peerflow reset on @PASSWORD@ ~{pf}:* +get\n" in changed
    assert changed != config


@pytest.mark.parametrize("rule", ["user peerflow on nopass +get", f"user peerflow on {HASH} {HASH.replace('0', '1')} +get"])
def test_a_user_without_one_hashed_password_is_refused(rule: str) -> None:
    with pytest.raises(SystemExit):
        load().acl("    user peerflow on\n", rule)


def test_the_default_user_is_off_and_keeps_all_rights() -> None:
    """Redis reads its append-only file with them: without them it drops what scripts have written, and starts all the same."""
    (default,) = [rule for rule in rules_of_redis() if rule.startswith("user default ")]
    assert default == "user default off ~* &* +@all"


def test_the_user_of_the_pods_may_not_do_everything() -> None:
    (pods,) = [rule for rule in rules_of_redis() if rule.startswith("user peerflow ")]
    words = pods.split()
    assert "on" in words
    assert "@PASSWORD@" in words
    assert not {"nopass", "+@all", "allcommands", "~*", "allkeys"} & set(words)


def test_the_alert_rules_and_the_dashboard_are_applied() -> None:
    rendered = objects.rendered("monitoring")
    rule: Any = objects.by_name(rendered, "PrometheusRule/peerflow")["spec"]
    assert sum(len(group["rules"]) for group in rule["groups"]) >= 10
    assert json.loads(objects.by_name(rendered, "ConfigMap/peerflow-dashboard")["data"]["dashboard.json"])["panels"]


def test_a_rule_file_becomes_an_object_of_the_operator() -> None:
    groups = "groups:\n  - name: g\n    rules:\n\n      - alert: A\n        expr: up == 0\n"
    made = yaml.safe_load(load().prometheus_rule(f"# a comment\n{groups}"))
    assert made["spec"] == yaml.safe_load(groups)
    assert made["kind"] == "PrometheusRule"
