"""Queries as Prometheus reads them: which series each asks for, what is done to them, and by which labels they are grouped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

from peerflow.metrics.catalogue import FAMILIES

TARGET = frozenset({"namespace", "pod", "instance", "job"})
"""Labels that Prometheus gives to each series of a target."""
KINDS: dict[str, str] = {
    "up": "gauge",
    "process_cpu_seconds_total": "counter",
    **dict.fromkeys(("process_resident_memory_bytes", "process_open_fds"), "gauge"),
}
"""Series that are not of the catalogue: Prometheus' own, and those of every process."""
LABELS: dict[str, frozenset[str]] = dict.fromkeys(KINDS, TARGET)

for _family in FAMILIES:
    _labels = TARGET | set(_family.labels)
    if _family.kind == "histogram":
        for _suffix, _more in (("_bucket", {"le"}), ("_count", set[str]()), ("_sum", set[str]())):
            KINDS[_family.name + _suffix], LABELS[_family.name + _suffix] = "histogram", _labels | _more
    else:
        KINDS[_family.name], LABELS[_family.name] = _family.kind, _labels

OVER_TIME = {"rate": {"counter", "histogram"}, "increase": {"counter", "histogram"}, "deriv": {"gauge"}}
"""Functions of a series' course → kinds of series for which they make sense."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One selector of a query."""

    series: str
    labels: frozenset[str]
    """That it is selected by."""
    over_time: str | None
    """The function around it, if that is one of a course."""
    groups: tuple[frozenset[str], ...]
    """Labels that are left by each `by` around it, the outermost first."""
    quantile: bool
    """True inside of histogram_quantile."""

    def problems(self) -> list[str]:
        """What is wrong with it, as far as the metrics that exist tell."""
        if self.series not in KINDS:
            return [f"there is no series {self.series}"]
        kind, has = KINDS[self.series], LABELS[self.series]
        found = [f"{self.series} has no label {label}" for label in sorted(self.labels - has)]
        found += [f"{self.series} has no label {label} to group by" for group in self.groups for label in sorted(group - has)]
        if self.over_time is None and kind != "gauge":
            found.append(f"{self.series} is a {kind}: its value alone says nothing")
        if self.over_time is not None and kind not in OVER_TIME[self.over_time]:
            found.append(f"{self.over_time} of the {kind} {self.series}")
        if self.quantile != self.series.endswith("_bucket"):
            found.append(f"{self.series} {'in' if self.quantile else 'outside of'} histogram_quantile")
        if self.quantile and not all("le" in group for group in self.groups[-1:]):
            found.append(f"{self.series} is grouped without le")
        return found


def asked(query: str) -> list[Asked]:
    """All selectors of a query. ValueError where it is none."""
    return list(_walk(promql_parser.parse(plain(query)), None, (), quantile=False))


def plain(query: str) -> str:
    """A dashboard's query with its variables filled in."""
    return re.sub(r"\$\w+", "x", query.replace("$__rate_interval", "5m"))


def _walk(node: Any, over_time: str | None, groups: tuple[frozenset[str], ...], *, quantile: bool) -> Iterator[Asked]:
    match type(node).__name__:
        case "VectorSelector":
            yield Asked(node.name, frozenset(matcher.name for matcher in node.matchers.matchers), over_time, groups, quantile)
        case "MatrixSelector":
            yield from _walk(node.vector_selector, over_time, groups, quantile=quantile)
        case "AggregateExpr":
            if node.modifier is not None:
                assert str(node.modifier.type).endswith("By")
                groups = (*groups, frozenset(node.modifier.labels))
            yield from _walk(node.expr, over_time, groups, quantile=quantile)
        case "BinaryExpr":
            for side in (node.lhs, node.rhs):
                yield from _walk(side, over_time, groups, quantile=quantile)
        case "Call":
            name = node.func.name
            for argument in node.args:
                yield from _walk(
                    argument, name if name in OVER_TIME else over_time, groups, quantile=quantile or name == "histogram_quantile"
                )
        case "ParenExpr" | "UnaryExpr":
            yield from _walk(node.expr, over_time, groups, quantile=quantile)
        case "NumberLiteral" | "StringLiteral":
            return
        case other:
            raise ValueError(f"a {other} in a query")
