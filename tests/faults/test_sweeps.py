"""Every call that changes something, and the first that only look, against every kind of fault: one fault, or one beside a dead pod."""

from __future__ import annotations

import pytest

from peerflow.testing import FaultKind
from tests.faults.ledger import Ledger
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweeps import sweep

UNDER = [(name, under) for name, scenario in SCENARIOS.items() for under in scenario.under]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_the_same_whatever_happens_at_any_call(name: str, valkey_url: str, ledger: Ledger) -> None:
    report = sweep(SCENARIOS[name], valkey_url)
    ledger.add_sweep(name, report)
    assert report.violations == []
    assert set(report.faults) == {kind.value for kind in FaultKind}
    assert report.tried > len(report.unreached) * 3


@pytest.mark.parametrize(("name", "under"), UNDER)
def test_a_second_fault_meets_the_pods_that_take_over(name: str, under: str, valkey_url: str, ledger: Ledger) -> None:
    report = sweep(SCENARIOS[name], valkey_url, under=under)
    ledger.add_sweep(f"{name}, {under}", report)
    assert report.violations == []
    assert report.points["reap"] >= 1


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_the_same_on_three_pods(name: str, valkey_url: str, ledger: Ledger) -> None:
    report = sweep(SCENARIOS[name], valkey_url, pods=3, looks=3)
    ledger.add_sweep(f"{name}, 3 pods", report)
    assert report.violations == []
