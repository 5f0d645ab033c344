"""S9 and S3 as clients see them: what was answered about a run's end stays true.

A call that was answered with a run's `state` notes it: a cancel that won (`ok`, cancelled), one that lost (`fail`, with the state in which
the run had ended), a status. Of cancel, pause and commit each pair has one winner: the scripts' own tests, and
walks over all of them, are in tests/integration/storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.states import RunState
from peerflow.testing.history import Operation
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation

TERMINAL = {state.value for state in RunState if state.terminal}


def in_history(operations: list[Operation], runs: Mapping[str, RunRecord]) -> Iterator[Violation]:
    """What was answered, against what is so now: `runs` by id."""
    cancels = [operation for operation in operations if operation.kind == "cancel"]
    for operation in operations:
        record = runs.get(operation.run_id or "")
        told = operation.answered.get("state")
        if operation.kind == "cancel" and operation.outcome == "ok":
            told = RunState.CANCELLED
        if record is not None and told in TERMINAL and told != record.run.state:
            invariant = "S9" if operation.kind == "cancel" else "S3"
            text = f"a {operation.kind} was answered that the run is {told}, and it is {record.run.state}"
            yield Violation(invariant, record.run.run_id, None, text)
    # A history that knows of cancels knows of all.
    if cancels and all(cancel.run_id is not None for cancel in cancels):
        asked = {cancel.run_id for cancel in cancels if cancel.outcome != "fail"}
        for run_id, record in runs.items():
            if record.run.state is RunState.CANCELLED and run_id not in asked:
                yield Violation("S9", run_id, None, "the run is cancelled, and nobody has cancelled it")
