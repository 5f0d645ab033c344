"""A scenario's sweep: every call, every kind of fault."""

from __future__ import annotations

from typing import Any

from peerflow.testing import FaultKind, SweepReport, crash_sweep
from tests.faults.scenarios import Scenario
from tests.faults.tasks import BANK, TASKS


def sweep(scenario: Scenario, url: str, **more: Any) -> SweepReport:
    """Raises AssertionError for any violation."""
    # Where one pod is gone already, the next fault may take a second one.
    pods = 3 if more.get("under") else 2
    options: dict[str, Any] = {"pods": pods, "kinds": list(FaultKind), "looks": 2, **scenario.options, **more}
    return crash_sweep(
        scenario.workflow,
        TASKS,
        reset=BANK.clear,
        effects=lambda: BANK.payments,
        outputs=scenario.outputs,
        check=scenario.effects,
        clients=scenario.clients(scenario.workflow) if scenario.clients else None,
        url=url,
        **options,
    )
