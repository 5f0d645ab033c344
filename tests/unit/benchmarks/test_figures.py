from __future__ import annotations

import json

import pytest

from benchmarks.figures import Figure, Target


def test_the_ratio_is_the_median_of_each_repetitions_own_ratio() -> None:
    # One repetition fell into a slow minute, which slowed both: the ratio does not see it.
    figure = Figure("hop", "ms", [1.0, 9.0, 1.2], [0.5, 4.5, 0.4])
    assert figure.ratio == 2.0


def test_without_a_reference_there_is_no_ratio() -> None:
    assert Figure("idle", "commands/s", [1.9]).ratio is None


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(3.0, "at most"), True),
        (Target(2.9, "at most"), False),
        (Target(3.0, "at least"), True),
        (Target(3.1, "at least"), False),
        (Target(1.5, "at most", "ratio"), True),
        (Target(1.4, "at most", "ratio"), False),
        (None, None),
    ],
)
def test_a_target_holds_the_median_or_the_ratio_to_a_bound(target: Target | None, met: bool | None) -> None:
    assert Figure("any", "ms", [1.0, 3.0, 100.0], [2.0, 2.0, 2.0], target).met is met


def test_every_value_goes_into_the_json_report() -> None:
    report = Figure("hop", "ms", [1.0, 3.0], [2.0, 2.0], Target(2.0, "at most", "ratio"), "a note").to_json()
    assert json.loads(json.dumps(report)) == {
        "name": "hop",
        "unit": "ms",
        "reached": [1.0, 3.0],
        "reference": [2.0, 2.0],
        "median": 2.0,
        "ratio": 1.0,
        "target": {"bound": 2.0, "kind": "at most", "of": "ratio"},
        "met": True,
        "note": "a note",
    }
