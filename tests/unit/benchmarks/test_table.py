from __future__ import annotations

import pytest

from benchmarks.figures import Figure, Target
from benchmarks.table import number, spread, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0527, "0.053"), (0.527, "0.527"), (2.5, "2.50"), (12.34, "12.3"), (176.4, "176"), (12_345.6, "12,346")],
)
def test_a_number_has_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_several_values_show_their_median_and_range() -> None:
    assert spread([3.0, 1.0, 20.0]) == "3.00 [1.00–20.0]"
    assert spread([3.0]) == "3.00"


def test_the_table_is_aligned_and_has_its_notes_below() -> None:
    figures = [
        Figure("hop", "ms", [0.3, 0.4, 0.2], [0.1, 0.2, 0.1], Target(2.0, "at most", "ratio"), "three runs"),
        Figure("fan-out", "tasks/s", [4_000.0], target=Target(5_000, "at least")),
        Figure("rate", "per s", [1.0], note="one run"),
    ]
    assert table(figures).splitlines() == [
        "| figure   | reached                | reference           | ratio  | target  | met? |",
        "| -------- | ---------------------- | ------------------- | ------ | ------- | ---- |",
        "| hop (1)  | 0.300 [0.200–0.400] ms | 0.100 [0.100–0.200] | 2.00 × | ≤ 2 ×   | yes  |",
        "| fan-out  | 4,000 tasks/s          | –                   | –      | ≥ 5,000 | no   |",
        "| rate (2) | 1.00 per s             | –                   | –      | –       | –    |",
        "",
        "(1) three runs",
        "(2) one run",
    ]
