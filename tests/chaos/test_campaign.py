"""The campaign's own parts, played once and short: `make chaos` plays them for as long as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign.measure import measure
from tests.chaos.campaign.report import missed, table
from tests.chaos.campaign.round import Tally, play


@pytest.mark.slow
def test_a_short_round_ends_without_violations_and_leaves_nothing(tmp_path: Path) -> None:
    tally, said = Tally(), list[str]()
    play(tmp_path / "round", 929583699, 6.0, tally, said.append)
    assert tally.violations == []
    assert tally.faults.total() >= 3
    assert tally.runs > 5
    assert len(said) == 1
    assert not (tmp_path / "round").exists()


@pytest.mark.slow
def test_orphans_of_a_killed_and_of_a_stopped_pod_start_again_in_time(tmp_path: Path) -> None:
    tally = Tally()
    measure(tmp_path / "ttl-2", 2.0, 1, 1, tally, list[str]().append)
    assert tally.violations == []
    assert {kind: len(times) > 0 for kind, times in tally.recovered.items()} == {"kill -9, TTL 2 s": True, "SIGTERM, TTL 2 s": True}
    # The targets are those of `make chaos`; a busy machine may add to them here.
    assert max(tally.recovered["kill -9, TTL 2 s"]) < 10
    assert missed(Tally(recovered={"SIGTERM, TTL 2 s": []}))
    assert "violations" in table(tally, seed=1, minutes=1, seconds=60)
