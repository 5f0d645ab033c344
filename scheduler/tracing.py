"""What the scheduler tells whoever traces attempts. Without a tracer nothing of this is called, and nothing is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.outcome import Outcome
from scheduler.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Entry:
    """How task code joins the trace of its attempt."""

    headers: Mapping[str, str]
    """For calls of other services; what code in a child process gets, too."""
    enter: Callable[[], object]
    """Makes the attempt's span the current one; called where the code is about to run."""


class AttemptTracer(Protocol):
    """All methods are called in the loop's thread; they neither block nor raise."""

    child_modules: tuple[str, ...]
    """Modules that a child process imports before those of its tasks; one of them calls `enter_with`."""

    def begin(self, attempt: Attempt) -> Entry:
        """The attempt starts here."""
        ...

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """Its code has ended. Whether that counts is not known yet."""
        ...

    def settled(self, claim_id: str) -> None:
        """Storage has answered its commit, and all events about that have been published."""
        ...

    def stopped(self, attempt: Attempt) -> None:
        """It was stopped without an outcome: given back, cancelled, or its lease was lost."""
        ...


_entering: list[Callable[[Mapping[str, str]], object]] = []


def enter_with(function: Callable[[Mapping[str, str]], object]) -> None:
    """From now on `function` is called with an attempt's headers where its code is about to run in this (child) process."""
    _entering[:] = [function]


def enter_child(headers: Mapping[str, str]) -> None:
    """Joins the trace in a child process, where a module has said how."""
    for function in _entering:
        function(headers)
