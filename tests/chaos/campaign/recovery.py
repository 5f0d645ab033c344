"""How long an orphaned task waits for its next attempt, by the clock of this machine, from what pods' tasks and the nemesis noted."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from peerflow.testing.history import Entry


@dataclass(frozen=True, slots=True)
class Times:
    """Sorted seconds, one for each orphaned task."""

    seconds: tuple[float, ...]

    def at(self, share: float) -> float:
        """The smallest value that at least this share does not exceed (nearest rank)."""
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]


def recoveries(entries: Sequence[Entry], kind: str) -> list[float]:
    """For each attempt that was under way on a pod when the fault `kind` met it: seconds until its task's code started again.

    A pod that may finish what runs (`grace_seconds`) is counted from the end of that time.
    """
    started: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    ended: set[tuple[str, str, int]] = set()
    for entry in entries:
        if entry.phase == "attempt_started":
            started[_task(entry)].append(entry)
        elif entry.phase == "attempt_ended":
            ended.add((*_task(entry), entry.integer("fencing_token") or 0))
    found: list[float] = []
    for fault in (entry for entry in entries if entry.phase == "fault" and entry.text("kind") == kind):
        grace = fault.facts.get("grace_seconds", 0)
        since_ms = fault.at_ms + int(float(grace if isinstance(grace, int | float) else 0) * 1000)
        for task, attempts in started.items():
            for attempt, following in itertools.pairwise(attempts):
                under_way = attempt.at_ms <= fault.at_ms and (*task, attempt.integer("fencing_token") or 0) not in ended
                if under_way and attempt.text("pod_id") == fault.text("pod_id"):
                    found.append((following.at_ms - since_ms) / 1000)
    return found


def _task(entry: Entry) -> tuple[str, str]:
    return entry.text("run_id") or "", entry.text("task_id") or ""
