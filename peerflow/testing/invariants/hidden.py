"""S19: a value that is marked secret is nowhere in what readers and clients see.

Seen here: runs, tasks, events, definitions, attempts, the history, names of keys. Log lines and metrics are looked at by tests/unit/api.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

from peerflow.testing.history import Entry
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation


def in_sight(secrets: Sequence[str], runs: Sequence[RunRecord], entries: list[Entry], keys: Sequence[str]) -> Iterator[Violation]:
    """Where a secret shows; the text does not repeat it."""
    if not secrets:
        return
    for record in runs:
        shown = [(name, task_id) for name, task_id, value in _places(record) if _shows(secrets, value)]
        yield from (Violation("S19", record.run.run_id, task_id, f"a secret is in {name}") for name, task_id in shown)
    for number, entry in enumerate(entries, 1):
        if _shows(secrets, entry.facts):
            yield Violation("S19", entry.text("run_id"), entry.text("task_id"), f"a secret is in entry {number} of the history")
    for number, key in enumerate(keys, 1):
        if _shows(secrets, key):
            yield Violation("S19", None, None, f"a secret is in the name of key {number} of those that are left")


def _places(record: RunRecord) -> Iterator[tuple[str, str | None, object]]:
    yield "the run", None, record.run
    yield "the definition", None, record.graph.tasks
    yield from (("the task", task.id, task) for task in record.tasks)
    yield from ((f"event {event.seq}", event.task_id, event) for event in record.events)
    yield from (("the log of attempts", task_id, log) for task_id, log in record.attempts.items())


def _shows(secrets: Sequence[str], value: object) -> bool:
    return any(secret in text for text in texts_in(value) for secret in secrets)


def texts_in(value: object) -> Iterator[str]:
    """Every text inside dataclasses, mappings and sequences, keys included."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting += [*cast("Mapping[Any, Any]", item).items()]
        elif isinstance(item, list | tuple):
            waiting += cast("Sequence[Any]", item)
        elif is_dataclass(item):
            waiting += [getattr(item, each.name) for each in fields(item)]
