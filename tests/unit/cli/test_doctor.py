"""What doctor makes of a server's words."""

from __future__ import annotations

import pytest

from peerflow.cli.doctor import Check, judge, limbo
from storage.views import ServerInfo

GOOD = {"flavour": "valkey", "version": "9.1.2", "persistence": "aof-everysec", "maxmemory_policy": "noeviction"}


def checks(**fields: object) -> dict[str, Check]:
    values = {**GOOD, "latency_ms": 0.2, "clock_offset_ms": 3.0, **fields}
    return {check.subject: check for check in judge(ServerInfo(**values), lease_ttl_seconds=10)}  # pyright: ignore[reportArgumentType]


def test_good_server_has_no_remedies() -> None:
    assert {check.verdict for check in checks().values()} == {"ok"}
    assert not any(check.remedy for check in checks().values())


@pytest.mark.parametrize(
    ("subject", "fields", "verdict"),
    [
        ("server", {"flavour": "redis", "version": "6.2.14"}, "problem"),
        ("server", {"flavour": "redis", "version": "7.0.0"}, "warning"),
        ("server", {"flavour": "redis", "version": "8.8.1"}, "ok"),
        ("server", {"flavour": "valkey", "version": "7.2.5"}, "problem"),
        ("persistence", {"persistence": "memory"}, "warning"),
        ("persistence", {"persistence": "snapshot"}, "warning"),
        ("persistence", {"persistence": "aof-always"}, "ok"),
        ("persistence", {"persistence": "aof-unknown"}, "note"),
        ("eviction", {"maxmemory_policy": "volatile-lru"}, "problem"),
        ("eviction", {"maxmemory_policy": "unknown"}, "warning"),
        ("latency", {"latency_ms": 50.0}, "warning"),
        ("latency", {"latency_ms": 2000.0}, "problem"),
        ("clock", {"clock_offset_ms": -5000.0}, "warning"),
    ],
)
def test_each_finding_has_its_verdict_and_a_remedy_where_it_is_not_ok(subject: str, fields: dict[str, object], verdict: str) -> None:
    check = checks(**fields)[subject]
    assert check.verdict == verdict
    assert bool(check.remedy) == (verdict != "ok")


def test_repaired_runs_are_a_warning_and_none_is_fine() -> None:
    assert limbo(0) == Check("limbo", "ok", "no run had to be repaired")
    assert limbo(3).verdict == "warning"
    assert "3 repairs" in limbo(3).found
    assert "task_repaired" in limbo(3).remedy
