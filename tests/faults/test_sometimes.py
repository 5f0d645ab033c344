"""What faults are for has happened: the suite fails where it never did."""

from __future__ import annotations

import pytest

from tests.faults.ledger import Ledger
from tests.faults.scenarios import SCENARIOS


def test_everything_that_should_happen_sometimes_has_happened(ledger: Ledger) -> None:
    """Over all sweeps and schedules of this session; it runs last."""
    if ledger.schedules is None or not SCENARIOS.keys() <= ledger.sweeps.keys():
        pytest.skip("only a part of the sweeps and schedules has run")
    assert ledger.missing() == []
