"""What a task waited for, and for how long: computed from what happened to it, and from the few notes that events cannot tell.

Instants are integer milliseconds by Redis's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.reasons import Reason

NOTE_SLACK_MS = 2_500
"""Notes are made once a second: what was noted last this long before a wait ended, or before another note, lasted until then.
Only an outage is noted when it is over."""
SUM_PARTS = 4
"""Reasons that a summary names; what is left is said as `other`."""

AFTER = {
    "ready": Reason.QUEUED,
    "started": Reason.RUNNING,
    "retry": Reason.RETRY_AT,
    "sleep": Reason.SLEEPS_UNTIL,
    # What comes back to the ready queue says `ready` in the same moment; what does not has ended.
    "lost": Reason.QUEUED,
    "released": Reason.QUEUED,
    "unheard": Reason.QUEUED,
    "succeeded": Reason.ENDED,
    "failed": Reason.ENDED,
    "skipped": Reason.ENDED,
    "cancelled": Reason.ENDED,
}
"""Kind of a task's event → what holds from then on. Kinds that a newer version writes change nothing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a task."""

    at_ms: int
    kind: str
    """As in events: `ready`, `started`, `retry`, `sleep`, `lost`, `released`, `unheard`, `succeeded`, `failed`, `skipped`, `cancelled`."""
    attempt: int | None = None
    pod: str | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a task's life with one reason."""

    reason: Reason
    from_ms: int
    to_ms: int | None
    """None while it lasts."""
    attempt: int | None = None
    """Of the attempt that runs, or that failed before a backoff."""
    pod: str | None = None

    def length_ms(self, now_ms: int) -> int:
        return max(0, (now_ms if self.to_ms is None else self.to_ms) - self.from_ms)


@dataclass(frozen=True, slots=True)
class Note:
    """Why ready tasks of a lane, or of all lanes, were not claimed between two instants, as pods have seen it."""

    reason: Reason
    from_ms: int
    to_ms: int


def intervals(created_at_ms: int, marks: Iterable[Mark], run_ended_at_ms: int | None = None) -> list[Interval]:
    """A task's life from its run's creation to its end: disjoint, in order, without gaps; the last one is open until the task has ended.

    A task that had not ended when its run did ended with it. Where a clock went back, time stands still until it has caught up.
    """
    done: list[Interval] = []
    current = Interval(Reason.PARENTS, created_at_ms, None)
    for mark in marks:
        reason = AFTER.get(mark.kind)
        if reason is None or current.reason is Reason.ENDED:
            continue
        if run_ended_at_ms is not None and mark.at_ms > run_ended_at_ms:
            break
        at_ms = max(mark.at_ms, current.from_ms)
        if at_ms > current.from_ms:
            done.append(replace(current, to_ms=at_ms))
        told = reason in {Reason.RUNNING, Reason.RETRY_AT, Reason.SLEEPS_UNTIL}
        current = Interval(reason, at_ms, None, mark.attempt if told else None, mark.pod if reason is Reason.RUNNING else None)
    if current.reason is not Reason.ENDED:
        if run_ended_at_ms is None:
            done.append(current)
        elif run_ended_at_ms > current.from_ms:
            done.append(replace(current, to_ms=run_ended_at_ms))
    return merged(done)


def merged(parts: Iterable[Interval]) -> list[Interval]:
    """Neighbours that say the same become one."""
    found: list[Interval] = []
    for part in parts:
        if found and found[-1].to_ms == part.from_ms and replace(found[-1], from_ms=0, to_ms=None) == replace(part, from_ms=0, to_ms=None):
            found[-1] = replace(found[-1], to_ms=part.to_ms)
        else:
            found.append(part)
    return found


def with_notes(parts: Sequence[Interval], *layers: Sequence[Note], now_ms: int) -> list[Interval]:
    """Says of stretches in the ready queue what notes know of them; notes of a later layer hide those of an earlier one.

    The notes of a layer are in order and do not overlap. Lengths and order of everything stay as they are.
    """
    found = list(parts)
    for notes in layers:
        found = [piece for part in found for piece in (_split(part, notes, now_ms) if _noteworthy(part) else [part])]
    return merged(found)


def _noteworthy(part: Interval) -> bool:
    return part.reason in {Reason.QUEUED, Reason.NO_CAPABLE_POD, Reason.POD_CAPACITY}


def _split(part: Interval, notes: Sequence[Note], now_ms: int) -> Iterable[Interval]:
    end_ms = max(now_ms, part.from_ms) if part.to_ms is None else part.to_ms
    at_ms = part.from_ms
    for number, note in enumerate(notes):
        following_ms = min(notes[number + 1].from_ms, end_ms) if number + 1 < len(notes) else end_ms
        goes_on = note.reason is not Reason.STORAGE and 0 <= following_ms - note.to_ms <= NOTE_SLACK_MS
        until_ms = following_ms if goes_on else note.to_ms
        from_ms, to_ms = max(note.from_ms, at_ms), min(until_ms, end_ms)
        if note.to_ms <= part.from_ms or from_ms >= to_ms:
            continue
        if from_ms > at_ms:
            yield replace(part, from_ms=at_ms, to_ms=from_ms)
        yield replace(part, reason=note.reason, from_ms=from_ms, to_ms=to_ms)
        at_ms = to_ms
    if part.to_ms is None or at_ms < end_ms:
        yield replace(part, from_ms=at_ms)


def now_is(parts: Sequence[Interval], reason: Reason) -> list[Interval]:
    """The same with what is known of this moment: the open stretch in the ready queue has this reason."""
    if not parts or parts[-1].to_ms is not None or not _noteworthy(parts[-1]):
        return list(parts)
    return merged([*parts[:-1], replace(parts[-1], reason=reason)])


def totals(parts: Iterable[Interval], now_ms: int) -> dict[Reason, int]:
    """Milliseconds of each wait, the longest first."""
    sums: dict[Reason, int] = {}
    for part in parts:
        if part.reason.waits and (length := part.length_ms(now_ms)):
            sums[part.reason] = sums.get(part.reason, 0) + length
    return dict(sorted(sums.items(), key=lambda entry: -entry[1]))


def summary(sums: dict[Reason, int], function: str, queue: str) -> str:
    """`waited 312 s: 290 s for a pod that registers X, 22 s for parents`; one reason is told without the colon."""
    total = sum(sums.values())
    if not total:
        return "has not waited"
    parts = [f"{span(length)} {reason.sum_phrase(function, queue)}" for reason, length in list(sums.items())[:SUM_PARTS]]
    if len(parts) == 1:
        return f"waited {parts[0]}"
    other = sum(list(sums.values())[SUM_PARTS:])
    return f"waited {span(total)}: {', '.join(parts)}" + (f", {span(other)} other" if other else "")


def span(length_ms: int) -> str:
    """`40 ms`, `1.2 s`, `312 s`."""
    if length_ms < 1_000:
        return f"{length_ms} ms"
    return f"{length_ms / 1000:.1f} s" if length_ms < 9_950 else f"{length_ms / 1000:.0f} s"
