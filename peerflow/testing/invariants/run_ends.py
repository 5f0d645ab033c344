"""S12: a run's state, result and counters follow from its tasks; a run ends exactly when no task of it can move.

S5, as far as it is seen from outside: the counters equal a recount. "At every moment" is proved in
tests/integration/storage, where walks over all scripts compare every place that a task may be in after each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from engine.states import RunState
from peerflow.testing.records import RunRecord
from peerflow.testing.replay import REPAIRS, RUN_ENDS, World
from peerflow.testing.violation import Violation
from storage.views import EventView


def on_event(world: World, event: EventView) -> Iterator[Violation]:
    """What is wrong with this event; `world` is as it was before."""
    if event.type in RUN_ENDS:
        text = _wrong_end(world, RUN_ENDS[event.type])
        if text:
            yield world.violation("S12", f"event {event.seq} ({event.type}): {text}")


def at_end(world: World) -> Iterator[Violation]:
    """What is wrong after the last event, and with the counters."""
    if world.state is RunState.RUNNING and (world.done == len(world.tasks) or world.ended):
        yield world.violation("S12", f"the run has not ended although {world.done} of {len(world.tasks)} tasks have: {world.ended}")
    run = world.record.run
    if run.state is not world.state:
        yield world.violation("S12", f"the run says {run.state}, its events say {world.state}")
    yield from _counters(world.record)


def _wrong_end(world: World, state: RunState) -> str | None:
    left, failed = len(world.tasks) - world.done, world.hard_failures
    if world.state is not RunState.RUNNING:
        return f"the run was {world.state} before"
    if state is RunState.CANCELLED:
        return None if left and world.ended != "stopped" else "the run had ended by itself"
    if state is RunState.FAILED and world.last is not None and world.last.type in REPAIRS:
        # Nothing of the run could move any more. That it came to this is a violation of L6 where Redis has forgotten nothing.
        return None
    if left and world.ended != "stopped":
        return f"{left} of {len(world.tasks)} tasks have not ended"
    return None if (state is RunState.FAILED) == (failed > 0) else f"{failed} tasks failed that may not"


def _counters(record: RunRecord) -> Iterator[Violation]:
    run, states = record.run, Counter(task.state for task in record.tasks)
    counts = {state: count for state, count in run.counts.items() if count}
    if counts != dict(states) or run.total != len(record.tasks):
        told = [", ".join(f"{count} {state}" for state, count in sorted(found.items())) for found in (counts, states)]
        yield Violation("S12", run.run_id, None, f"it counts {told[0]} of {run.total}; a recount of its tasks gives {told[1]}")
    elif run.state.terminal and any(not task.state.terminal for task in record.tasks):
        yield Violation("S12", run.run_id, None, f"it is {run.state}, and tasks of it have not ended")
