"""S3 and S13 over time: a run that is read again has the same past, and tasks that had ended are as they were.

A commit by a claim that is not current could change a result without an event; two readings show that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from peerflow.testing.records import RunRecord
from peerflow.testing.replay import is_done
from peerflow.testing.violation import Violation


def of_runs(runs: Sequence[RunRecord]) -> Iterator[Violation]:
    """`runs` may hold several records of one run, in the order in which they were read."""
    readings: dict[str, list[RunRecord]] = defaultdict(list)
    for record in runs:
        readings[record.run.run_id].append(record)
    for records in readings.values():
        for earlier, later in pairwise(records):
            yield from _compared(earlier, later)


def _compared(earlier: RunRecord, later: RunRecord) -> Iterator[Violation]:
    run_id = earlier.run.run_id
    if later.events[: len(earlier.events)] != earlier.events:
        yield Violation("S13", run_id, None, f"the first {len(earlier.events)} events are not those that were read before")
        return
    for before, after in zip(earlier.tasks, later.tasks, strict=True):
        if is_done(before.state) and before != after:
            yield Violation("S3", run_id, before.id, f"it had ended, and has changed since: {before} became {after}")
    if earlier.run.state.terminal and earlier.run != later.run:
        yield Violation("S3", run_id, None, f"the run had ended, and has changed since: {earlier.run} became {later.run}")
