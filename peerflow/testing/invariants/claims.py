"""S14, and S1 and S2 as task code sees them: which claims ran, under which numbers, and whose result counted.

Task code notes its attempt and its fencing token. A claim may have been given to a pod that never ran it, and code of a claim that was
lost long ago may still start: so entries are matched with claims by their tokens, never by their order in the file. After a rollback of
Redis claims are forgotten that ran, and a run that is under way makes new ones after it was read; then only the tokens are compared.

Claim ids are not shown to readers; that none is used twice follows from how pods make them (128 random bits), and
tests/integration/storage hold the scripts to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from engine.states import TaskState
from peerflow.testing.history import Entry
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation
from storage.views import EventView, TaskView

Claim = tuple[int | None, str | None]
"""Attempt and pod."""


def in_history(record: RunRecord, entries: list[Entry], *, rollback: bool) -> Iterator[Violation]:
    """What the attempts of one run say about its tasks."""
    settled = record.run.state.terminal and not rollback
    started: dict[str | None, list[Entry]] = defaultdict(list)
    failed: set[tuple[str | None, int | None]] = set()
    for entry in entries:
        if entry.phase == "attempt_started":
            started[entry.text("task_id")].append(entry)
        elif entry.text("outcome") == "failed":
            failed.add((entry.text("task_id"), entry.integer("fencing_token")))
    events: dict[str, list[EventView]] = defaultdict(list)
    for event in record.events:
        events[event.task_id or ""].append(event)
    for task in record.tasks:
        ran = sorted(started[task.id], key=_token)
        found = list(_tokens(record, task, ran)) or (list(_matched(record, task, ran, events[task.id])) if settled else [])
        yield from found
        if ran and settled and not found:
            yield from _result(record, task, ran, events[task.id], {token for task_id, token in failed if task_id == task.id})


def _tokens(record: RunRecord, task: TaskView, ran: list[Entry]) -> Iterator[Violation]:
    claims: dict[int, list[Claim]] = defaultdict(list)
    for entry in ran:
        claims[_token(entry)].append(_claim(entry))
    for token, holders in claims.items():
        if len(holders) > 1:
            once = len(set(holders)) == 1
            text = f"{_told(holders[0])} ran twice" if once else f"{_told(holders[0])} and {_told(holders[1])} have the same fencing token"
            yield Violation("S1" if once else "S14", record.run.run_id, task.id, f"{text} {token}")


def _matched(record: RunRecord, task: TaskView, ran: list[Entry], events: list[EventView]) -> Iterator[Violation]:
    claims = [(event.attempt, event.pod) for event in events if event.type == "task_started"]
    surplus = Counter(map(_claim, ran)) - Counter(claims)
    for claim, count in surplus.items():
        yield Violation("S1", record.run.run_id, task.id, f"{_told(claim)} ran {count} times more than it was claimed")
    if surplus:
        return
    left = iter(claims)
    for entry in ran:
        if _claim(entry) not in left:
            yield Violation(
                "S14", record.run.run_id, task.id, f"{_told(_claim(entry))} has token {_token(entry)}, out of the order of claims"
            )
            return
    newest = _token(ran[-1]) if ran else 0
    if task.fencing_token is not None and task.fencing_token < newest:
        yield Violation("S14", record.run.run_id, task.id, f"its last fencing token is {task.fencing_token}; an attempt had {newest}")


def _result(record: RunRecord, task: TaskView, ran: list[Entry], events: list[EventView], failed: set[int | None]) -> Iterator[Violation]:
    """The result that counts is one of an attempt that ran, and did not fail."""
    if task.state is not TaskState.SUCCEEDED:
        return
    # A task that slept succeeds with the attempt that went to sleep.
    end = next((event for event in reversed(events) if event.type == "task_succeeded"), None)
    if end is None:
        return
    tokens = {_token(entry) for entry in ran if _claim(entry) == (end.attempt, end.pod)}
    if not tokens:
        yield Violation("S2", record.run.run_id, task.id, f"the result of {_told((end.attempt, end.pod))} counts, which never ran")
    elif task.fencing_token is not None and task.fencing_token not in tokens:
        yield Violation("S2", record.run.run_id, task.id, f"the result is of token {task.fencing_token}, the attempt had {sorted(tokens)}")
    elif tokens <= failed:
        yield Violation("S2", record.run.run_id, task.id, f"{_told((end.attempt, end.pod))} counts as succeeded, and failed")


def _token(entry: Entry) -> int:
    return entry.integer("fencing_token") or 0


def _claim(entry: Entry) -> Claim:
    return entry.integer("attempt"), entry.text("pod_id")


def _told(claim: Claim) -> str:
    return f"attempt {claim[0]} of pod {claim[1]}"
