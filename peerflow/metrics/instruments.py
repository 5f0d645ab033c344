"""Counters and histograms that cost a fraction of a microsecond: each series is written by one thread, and read by any."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

SERIES: Final = 500
"""Sets of label values of one family; those that come later are counted together, under OTHER."""
OTHER: Final = "other"

Labels = tuple[str, ...]


class Counts:
    """Label values → a number that only grows."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels, by: float = 1) -> None:
        try:
            self._values[labels] += by
        except KeyError:
            labels = within(labels, len(self._values))
            self._values[labels] = self._values.get(labels, 0) + by

    def read(self) -> list[tuple[Labels, float]]:
        """All series at this moment."""
        return list(self._values.items())


class Buckets:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend; what is larger than the last one is counted too."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> tuple[list[int], float]:
        """How many fell between each two bounds, and the sum of all."""
        return list(self._counts), self._sum


class Histograms:
    """Label values → a histogram."""

    __slots__ = ("_series", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._series: dict[Labels, Buckets] = {}

    def of(self, labels: Labels) -> Buckets:
        """The series, for those who keep it and write to it often."""
        series = self._series.get(labels)
        if series is None:
            labels = within(labels, len(self._series))
            series = self._series.setdefault(labels, Buckets(self.bounds))
        return series

    def __len__(self) -> int:
        return len(self._series)

    def read(self) -> list[tuple[Labels, list[int], float]]:
        """All series at this moment: labels, how many fell between each two bounds, sum."""
        return [(labels, *series.read()) for labels, series in list(self._series.items())]


def within(labels: Labels, series: int) -> Labels:
    """The labels of a new series, where there are so many already."""
    return labels if series < SERIES else (OTHER,) * len(labels)
