"""What happens so often in a pod that a value for each occurrence would cost too much: it is told, and counted at once.

`engine/events.py` has everything else. An observer hears each of these in one thread only: what concerns the heartbeat in its thread, the
rest in the event loop's. It must neither block nor raise, nor take longer than a microsecond or two.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

OnCall = Callable[[str, float, bool], None]
"""Hears of each script call: its name, seconds from the call to its end (waiting for a connection included), and whether it was answered.
One that the server refused, or that was lost, was not."""


class End(StrEnum):
    """How an attempt ended, as far as this pod knows: exactly one word for each, once storage has accepted it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """Its timeout came, or its code did not say for `heartbeat_timeout` that it moves."""
    SLEEPING = "sleeping"
    """It asked to go on later, and holds nothing until then."""
    CANCELLED = "cancelled"
    """Its run had ended first."""
    RELEASED = "released"
    """Given back, uncharged: its pod stops."""
    LOST = "lost"
    """Charged by another pod, because its own was silent for too long."""

    # The enum's own is Python code, and this is looked up for every attempt.
    __hash__ = str.__hash__


class Observer(Protocol):
    """Hears what a pod's loops do."""

    def claimed(self, lane: str, waited_seconds: float, /) -> None:
        """A task was claimed from the lane `queue/function`, so long after it had become ready."""
        ...

    def ended(self, function: str, end: End, seconds: float | None, /) -> None:
        """An attempt ended; `seconds` is how long it took, None where it did not come to its own end."""
        ...

    def taken_over(self, function: str, seconds: float, /) -> None:
        """This pod put a dead pod's task back, so long after that pod's last sign of life. It counts as an attempt that was LOST, too."""
        ...

    def beaten(self, late_seconds: float, seconds: float, /) -> None:
        """A heartbeat began so late, and took so long; it was answered, or was not. Told in the heartbeat's thread."""
        ...


class NoObserver:
    """Hears it, and does nothing."""

    def claimed(self, lane: str, waited_seconds: float, /) -> None: ...

    def ended(self, function: str, end: End, seconds: float | None, /) -> None: ...

    def taken_over(self, function: str, seconds: float, /) -> None: ...

    def beaten(self, late_seconds: float, seconds: float, /) -> None: ...
