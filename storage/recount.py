"""What the states of a run's tasks mean for those that wait for others: computed afresh from the record, for the audit.

Pure: no Redis. `restore` answers a letter for each task; the rule is that of storage/lua/lib/flow.lua: a task becomes ready when all its
predecessors have succeeded, and is skipped as soon as one has ended otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.graph import Graph
from storage.graphs import RunGraph

PENDING, READY, RUNNING, WAITING, SUCCEEDED, FAILED, SKIPPED = "prxwsfk"
COUNTED = (READY, RUNNING, WAITING, SUCCEEDED, FAILED, SKIPPED)
ENDED = frozenset({SUCCEEDED, FAILED, SKIPPED})
MOVING = frozenset({READY, RUNNING, WAITING})
FAILED_EDGE = 131_072
"""What an edge count holds for each predecessor that ended without success, besides 1 for each that ended (flow.lua)."""
NAMED = 10
"""Tasks that a reason names; more are counted."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A task that has not started, as its predecessors' states decide it."""

    index: int
    ended: int
    failed: int
    """Those of `ended` that did not succeed."""
    cause: int | None
    """The first of them."""
    complete: bool
    """All predecessors have ended."""

    @property
    def state(self) -> str:
        """`SKIPPED`, `READY` or `PENDING`."""
        if self.failed:
            return SKIPPED
        return READY if self.complete else PENDING

    @property
    def edge_count(self) -> int:
        """What storage keeps for it while predecessors are left; 0 for nothing."""
        return 0 if self.complete else self.ended + FAILED_EDGE * self.failed


@dataclass(frozen=True, slots=True)
class Survey:
    """A run's tasks as `restore` answered them, page by page."""

    states: str
    """A letter for each task."""
    edges: Mapping[int, int]
    """Task index → edge count as stored; none stands for 0."""
    counted: Sequence[int]
    """How many tasks are in each state of COUNTED, and how many failures count, by the run's own counters."""
    events: int
    still: bool
    """Nothing happened between the first page and the last, so that they are of one moment."""


@dataclass(slots=True)
class Repairs:
    """Decisions as `repair` takes them."""

    free: list[str] = field(default_factory=list[str])
    """On tasks whose predecessors have all ended: right whatever else happens meanwhile."""
    fenced: list[str] = field(default_factory=list[str])
    """Right as long as nothing has happened since the survey, as are the next two."""
    recount: str = ""
    dead_end: str = ""

    def __bool__(self) -> bool:
        return bool(self.free or self.fenced or self.recount or self.dead_end)


def standing(graph: Graph, states: str, index: int) -> Standing:
    """What the predecessors of a task say."""
    before = graph.predecessors[index]
    ended = [predecessor for predecessor in before if states[predecessor] in ENDED]
    failed = [predecessor for predecessor in ended if states[predecessor] != SUCCEEDED]
    return Standing(index, len(ended), len(failed), failed[0] if failed else None, len(ended) == len(before))


def find_repairs(run_graph: RunGraph, survey: Survey) -> Repairs:
    """What is wrong with the run as the survey saw it, and what would put it right; nothing where all is well.

    Slices that are under way look wrong too: `repair` touches nothing of a run that has one.
    """
    graph, states, found = run_graph.graph, survey.states, Repairs()
    for index, state in enumerate(states):
        if state in {PENDING, SKIPPED}:
            _check(run_graph, standing(graph, states, index), state, survey, found)
    if not survey.still:
        return Repairs(free=found.free)
    numbers = _recount(run_graph, states)
    stuck = not found and not MOVING & set(states)
    if list(survey.counted) != numbers or (stuck and set(states) <= ENDED):
        found.recount = " ".join(map(str, numbers))
    elif stuck:
        left = [graph.tasks[index].id for index, state in enumerate(states) if state not in ENDED]
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        found.dead_end = f"no task can move any more: {', '.join(left[:NAMED])}{more}"
    return found


def _check(run_graph: RunGraph, now: Standing, state: str, survey: Survey, found: Repairs) -> None:
    if state == PENDING and now.state != PENDING:
        index, _, flags, priority, lane = run_graph.words[now.index].split(" ")
        decision = (
            f"ready {index} {flags} {priority} {lane}" if now.state == READY else f"skipped {index} {now.edge_count} upstream {now.cause}"
        )
        (found.free if now.complete else found.fenced).append(decision)
    elif not now.complete and survey.edges.get(now.index, 0) != now.edge_count:
        found.fenced.append(f"edges {now.index} {now.edge_count}")


def _recount(run_graph: RunGraph, states: str) -> list[int]:
    counts = Counter(states)
    hard = sum(state == FAILED and not task.allow_failure for state, task in zip(states, run_graph.graph.tasks, strict=True))
    return [*(counts[state] for state in COUNTED), hard]
