"""When a child that has died is started again, and when that is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 30.0
CALM_SECONDS: Final = 60.0
"""After so long without a death the next one waits as the first one did."""
LIMIT: Final = 5
"""Pods in a row that ended before they were ready."""


class Restarts:
    """Counts deaths and starts; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[float] = []
        self._pause_seconds = FIRST_SECONDS
        self._last_death = float("-inf")
        self._reasons: set[bytes] = set()
        self.failures = 0
        """Pods in a row that ended before they were ready."""
        self.any_succeeded = False

    def add(self) -> float:
        """Notes that a child is to be started again, and answers in how many seconds: twice as many as before, while they die often."""
        now = self._clock()
        calm = now - self._last_death > CALM_SECONDS
        self._pause_seconds = FIRST_SECONDS if calm else min(2 * self._pause_seconds, LONGEST_SECONDS)
        self._last_death = now
        self._due.append(now + self._pause_seconds)
        return self._pause_seconds

    def seconds_to_next(self) -> float | None:
        """None where no child is to be started again."""
        return max(0.0, min(self._due) - self._clock()) if self._due else None

    def take_due(self) -> int:
        """How many children are to be started now; they are not answered again."""
        now = self._clock()
        due = sum(at <= now for at in self._due)
        self._due = [at for at in self._due if at > now]
        return due

    def clear(self) -> None:
        self._due.clear()

    def failed(self) -> bool:
        """Notes that a child ended before it was ready; True where it is time to give up."""
        self.failures += 1
        return self.failures >= LIMIT

    def succeeded(self) -> None:
        self.failures = 0
        self.any_succeeded = True
        self._reasons.clear()

    def is_news(self, reason: bytes) -> bool:
        """True for the first child that gives this reason, since one was ready."""
        news = reason not in self._reasons
        self._reasons.add(reason)
        return news
