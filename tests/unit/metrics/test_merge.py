"""Several pods' metrics become one text that Prometheus can read, and nothing of them is lost or added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from prometheus_client import parser as plain_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from peerflow.metrics.merge import merged

PLAIN = """\
# HELP runs_total Runs, by "end" and {so on}
# TYPE runs_total counter
runs_total{state="a } b",queue="x\\"y"} %d.0
# HELP up Whether
# TYPE up gauge
up %d.0
# HELP wait Seconds
# TYPE wait histogram
wait_bucket{le="0.1"} 1.0
wait_bucket{le="+Inf"} %d.0
wait_count %d.0
wait_sum 0.5
"""
OPEN = '# HELP runs Runs\n# TYPE runs counter\nruns_total{state="a"} %d.0\n# HELP up Whether\n# TYPE up gauge\nup 1.0\n# EOF\n'


plain = cast("Callable[[str], Iterable[Any]]", plain_parser.text_string_to_metric_families)
openmetrics = cast("Callable[[str], Iterable[Any]]", cast("Any", openmetrics_parser).text_string_to_metric_families)


def samples(families: Iterable[Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def test_each_sample_says_which_pod_it_is_of_and_each_family_is_told_once() -> None:
    text = merged({"0": PLAIN % (1, 2, 3, 3), "1": PLAIN % (10, 20, 30, 30)})
    found = samples(plain(text))
    assert found["runs_total", frozenset({("state", "a } b"), ("queue", 'x"y'), ("process", "0")})] == 1
    assert found["runs_total", frozenset({("state", "a } b"), ("queue", 'x"y'), ("process", "1")})] == 10
    assert [found["up", frozenset({("process", name)})] for name in "01"] == [2, 20]
    assert len(found) == 12
    assert text.count("# TYPE runs_total counter") == 1
    assert text.count("# HELP wait Seconds") == 1


def test_a_family_that_one_pod_alone_has_is_kept() -> None:
    found = samples(plain(merged({"0": PLAIN % (1, 1, 1, 1), "1": "# TYPE lonely gauge\nlonely 7.0\n"})))
    assert found["lonely", frozenset({("process", "1")})] == 7


def test_openmetrics_end_once_and_at_the_end() -> None:
    text = merged({"0": OPEN % 1, "1": OPEN % 2})
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
    found = samples(openmetrics(text))
    assert [found["runs_total", frozenset({("state", "a"), ("process", name)})] for name in "01"] == [1, 2]


@pytest.mark.parametrize("line", ["", "no sample at all {"])
def test_a_line_that_is_no_sample_breaks_nothing(line: str) -> None:
    assert 'up{process="0"} 1.0' in merged({"0": f"# TYPE up gauge\nup 1.0\n{line}\n"})
