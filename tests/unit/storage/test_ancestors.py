"""The way from a task that waits for parents to the one that holds it up is found in few reads, however long it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.graph import Graph
from engine.states import TaskState
from storage import ancestors
from storage.ancestors import ENDS, Ancestors, Chain
from storage.marks import Head

ACTIVE = (TaskState.READY, TaskState.RUNNING, TaskState.WAITING)


class Records:
    """A run at one moment: what has ended, what is active; all else is pending."""

    def __init__(self, parents: Sequence[Sequence[int]], states: Sequence[TaskState]) -> None:
        tasks: dict[str, Any] = {
            f"t{index}": {"task": "echo", "depends_on": [f"t{parent}" for parent in given]} for index, given in enumerate(parents)
        }
        self.graph: Graph = compile_definition(WorkflowDefinition.model_validate({"tasks": tasks}))
        self.states = states
        self.calls: list[int] = []

    def head(self, index: int) -> Head:
        ended = sum(self.states[parent].terminal for parent in self.graph.predecessors[index])
        return Head(self.states[index], parents_ended=ended)

    async def fetch(self, indices: Sequence[int]) -> dict[int, Head]:
        self.calls.append(len(indices))
        return {index: self.head(index) for index in indices}

    def ancestors(self, *known: int) -> Ancestors:
        return Ancestors(self.graph, self.fetch, {index: self.head(index) for index in known})


def line(length: int, active: int) -> Records:
    """A chain in which the tasks before `active` have ended."""
    states = [TaskState.SUCCEEDED] * active + [TaskState.READY] + [TaskState.PENDING] * (length - active - 1)
    return Records([[index - 1] if index else [] for index in range(length)], states)


async def test_a_short_way_is_shown_whole() -> None:
    records = line(6, 2)
    assert await records.ancestors(5).chain(5) == Chain((4, 3, 2), 3)


@pytest.mark.parametrize("active", [0, 1, 1_234, 7_997, 7_998])
async def test_a_long_way_costs_few_reads_and_shows_both_ends(active: int) -> None:
    records = line(8_000, active)
    chain = await records.ancestors(7_999).chain(7_999)
    assert chain.length == 7_999 - active
    assert chain.shown[0] == 7_998
    assert chain.shown[-1] == active
    assert len(chain.shown) == min(chain.length, 2 * ENDS)
    assert sum(records.calls) <= 150
    assert len(records.calls) <= 20


async def test_tasks_of_one_way_share_what_was_found() -> None:
    records = line(8_000, 10)
    found = records.ancestors()
    for index in range(7_000, 8_000):
        chain = await found.chain(index)
        assert (chain.length, chain.shown[-1]) == (index - 10, 10)
    assert sum(records.calls) <= 2_500


async def test_tasks_whose_ways_meet_do_not_walk_the_same_part_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 tasks behind the end of a chain: each of their ways is the chain."""
    monkeypatch.setattr(ancestors, "STEPS", 6_000)
    parents = [[index - 1] if index else [] for index in range(2_000)] + [[1_999]] * 1_000
    states = [TaskState.RUNNING] + [TaskState.PENDING] * 2_999
    found = Records(parents, states).ancestors()
    for index in range(2_000, 3_000):
        assert (await found.chain(index)).shown[-1] == 0


async def test_open_parents_are_counted_whole_and_ten_are_named() -> None:
    states = [TaskState.SUCCEEDED] * 300 + [TaskState.READY] * 50 + [TaskState.PENDING]
    records = Records([list[int]() for _ in range(350)] + [list(range(350))], states)
    assert await records.ancestors(350).open_parents(350) == (list(range(300, 310)), 50)


async def test_what_was_not_read_in_bounds_is_counted_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ancestors, "READS", 100)
    states = [TaskState.SUCCEEDED] * 300 + [TaskState.READY] * 50 + [TaskState.PENDING]
    records = Records([list[int]() for _ in range(350)] + [list(range(350))], states)
    found = records.ancestors(350)
    assert await found.open_parents(350) == ([], 50)
    assert await found.chain(350) == Chain()
    assert sum(records.calls) == 100


async def test_first_parents_of_a_page_are_read_in_one_call() -> None:
    records = line(100, 50)
    found = records.ancestors(*range(60, 80))
    await found.prepare(range(60, 80))
    assert records.calls == [1]


@st.composite
def moments(draw: st.DrawFn) -> Records:
    """A DAG at a moment that can be: a task is pending unless all its parents have ended."""
    size = draw(st.integers(2, 25))
    parents = [
        sorted(draw(st.sets(st.integers(0, index - 1), max_size=4)), key=lambda parent: parent * 7919 % 31) if index else []
        for index in range(size)
    ]
    states: list[TaskState] = []
    for given_parents in parents:
        free = all(states[parent].terminal for parent in given_parents)
        states.append(draw(st.sampled_from([*ACTIVE, TaskState.SUCCEEDED])) if free else TaskState.PENDING)
    return Records(parents, states)


@settings(max_examples=200)
@given(moments())
async def test_every_way_leads_over_open_parents_to_a_task_that_is_not_pending(records: Records) -> None:
    found = records.ancestors()
    for index, state in enumerate(records.states):
        if state is TaskState.PENDING:
            chain = await found.chain(index)
            assert chain.length == len(chain.shown) or len(chain.shown) == 2 * ENDS
            assert records.states[chain.shown[-1]] in ACTIVE
            at = index
            for passed in chain.shown[: ENDS if chain.length > 2 * ENDS else None]:
                parents = records.graph.predecessors[at]
                assert passed == next(parent for parent in parents if not records.states[parent].terminal)
                at = passed
            named, count = await found.open_parents(index)
            expected = [parent for parent in records.graph.predecessors[index] if not records.states[parent].terminal]
            assert (named, count) == (expected[:10], len(expected))
