"""One checker for tests of all levels: what clients and tasks noted, against what Redis says.

It knows nothing of how pods were run or broken: simulated pods, processes, containers and a user's own crash sweep are checked alike.
peerflow.testing.invariants says which invariant is checked where, and which cannot be seen from outside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from peerflow.testing.history import Entry, History
from peerflow.testing.invariants import (
    answers,
    attempts,
    claims,
    effects,
    event_log,
    hidden,
    leftovers,
    moves,
    parents,
    pods,
    posts,
    readings,
    run_ends,
    timers,
)
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
    unharmed_pods: Collection[str] = (),
    secrets: Sequence[str] = (),
) -> list[Violation]:
    """All violations; an empty list where every promise was kept.

    `runs` are all runs that the history accepted; a run that was read several times may be there several times, in that order. `rollback`:
    Redis has lost acknowledged writes meanwhile, which some invariants allow for. `max_lost` is the pods' setting. `leftover_keys` were
    found after everything had its time to go away. `live`: runs may be still under way; otherwise one that has not ended is a violation of
    L1. `unharmed_pods` lived and sent heartbeats all the time. `secrets` are values that must not show.
    """
    entries, operations = history.entries(), history.operations()
    last = {record.run.run_id: record for record in runs}
    violations = [
        *posts.in_history(operations, list(last.values()), rollback=rollback, live=live),
        *event_log.in_streams(operations),
        *effects.in_history(entries, rollback=rollback),
        *leftovers.in_keys(leftover_keys, runs),
        *hidden.in_sight(secrets, runs, entries, leftover_keys),
    ]
    if not rollback:
        violations += [*answers.in_history(operations, last), *readings.of_runs(runs)]
    noted: dict[str | None, list[Entry]] = {}
    for entry in entries:
        if entry.phase in {"attempt_started", "attempt_ended"}:
            noted.setdefault(entry.text("run_id"), []).append(entry)
    for record in runs:
        latest = record is last[record.run.run_id]
        ran = noted.get(record.run.run_id, []) if latest else []
        violations += _of_run(record, ran, rollback=rollback, max_lost=max_lost)
        if latest:
            violations += [*effects.in_events(record), *pods.in_events(record, unharmed_pods, rollback=rollback)]
    return violations


def _of_run(record: RunRecord, ran: list[Entry], *, rollback: bool, max_lost: int) -> Iterator[Violation]:
    broken = list(event_log.in_log(record))
    yield from broken
    if not broken:
        yield from _told(World(record), max_lost)
        yield from claims.in_history(record, ran, rollback=rollback)
    yield from parents.in_history(record, ran)


def _told(world: World, max_lost: int) -> Iterator[Violation]:
    for event in replay(world):
        illegal = list(moves.on_event(world, event))
        yield from illegal
        # What should not have happened at all is not judged any further.
        if not illegal:
            for rule in (parents.on_event, timers.on_event, run_ends.on_event):
                yield from rule(world, event)
            yield from attempts.on_event(world, event, max_lost)
    for rule in (moves.at_end, event_log.at_end, attempts.at_end, run_ends.at_end):
        yield from rule(world)
