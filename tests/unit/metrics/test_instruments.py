"""Counters and histograms."""

from __future__ import annotations

from peerflow.metrics.instruments import OTHER, SERIES, Counts, Histograms


def test_a_counter_grows_by_what_is_added() -> None:
    counts = Counts()
    counts.add(("a",))
    counts.add(("a",), 2.5)
    counts.add(("b",), 0)
    assert counts.read() == [(("a",), 3.5), (("b",), 0)]


def test_a_value_falls_into_the_first_bucket_that_is_not_below_it() -> None:
    histograms = Histograms((1.0, 5.0))
    for value in (0.5, 1.0, 1.1, 5.0, 5.1, 1000.0):
        histograms.of(("a",)).observe(value)
    assert histograms.read() == [(("a",), [2, 2, 2], 1012.7)]


def test_labels_beyond_the_limit_are_counted_together() -> None:
    counts, histograms = Counts(), Histograms((1.0,))
    for number in range(3 * SERIES):
        counts.add((f"f{number}", "succeeded"))
        histograms.of((f"f{number}",)).observe(0.5)
    assert len(counts.read()) == len(histograms.read()) == SERIES + 1
    assert counts.read()[-1] == ((OTHER, OTHER), 2 * SERIES)
    assert histograms.read()[-1][:2] == ((OTHER,), [2 * SERIES, 0])
    counts.add(("f0", "succeeded"))
    assert counts.read()[0] == (("f0", "succeeded"), 2)
