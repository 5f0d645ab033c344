"""One checker for tests of all levels: what clients and tasks noted, against what Redis says.

It knows nothing of how pods were run or broken: simulated pods, processes, containers and a user's own crash sweep are checked alike.
peerflow.testing.invariants says which invariant is checked where, and which cannot be seen from outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from peerflow.testing.history import Entry, History
from peerflow.testing.invariants import attempts, claims, event_log, moves, parents, posts, run_ends
from peerflow.testing.records import RunRecord
from peerflow.testing.replay import World, replay
from peerflow.testing.violation import Violation

__all__ = ["Violation", "check"]


def check(
    history: History,
    runs: Sequence[RunRecord],
    *,
    rollback: bool = False,
    max_lost: int = 3,
    leftover_keys: Sequence[str] = (),
    live: bool = False,
) -> list[Violation]:
    """All violations; an empty list where every promise was kept.

    `runs` are all runs that the history accepted. `rollback`: Redis has lost acknowledged writes meanwhile, which some invariants
    allow for. `max_lost` is the pods' setting. `live`: runs may be still under way; otherwise one that has not ended is a violation of L1.
    """
    del leftover_keys
    entries, operations = history.entries(), history.operations()
    violations = [*posts.in_history(operations, runs, rollback=rollback, live=live), *event_log.in_streams(operations)]
    noted: dict[str | None, list[Entry]] = {}
    for entry in entries:
        if entry.phase in {"attempt_started", "attempt_ended"}:
            noted.setdefault(entry.text("run_id"), []).append(entry)
    for record in runs:
        violations += _of_run(record, noted.get(record.run.run_id, []), rollback=rollback, max_lost=max_lost)
    return violations


def _of_run(record: RunRecord, ran: list[Entry], *, rollback: bool, max_lost: int) -> Iterator[Violation]:
    broken = list(event_log.in_log(record))
    yield from broken
    if not broken:
        yield from _told(World(record), max_lost)
        yield from claims.in_history(record, ran, rollback=rollback)
    yield from parents.in_history(record, ran)


def _told(world: World, max_lost: int) -> Iterator[Violation]:
    numbers = attempts.Attempts(world, max_lost)
    for event in replay(world):
        illegal = list(moves.on_event(world, event))
        yield from illegal
        # What should not have happened at all is not judged any further.
        for rule in () if illegal else (parents.on_event, run_ends.on_event, numbers.on_event):
            yield from rule(world, event)
    for rule in (moves.at_end, event_log.at_end, numbers.at_end, run_ends.at_end):
        yield from rule(world)
