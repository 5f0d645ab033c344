"""The protocol as a small model: two pods, three tasks, a few faults. Every world that this can lead to is looked at.

No server: what the model says and what the scripts do is compared by the random walks and the state machine, which have the same model.
`HYPOTHESIS_PROFILE=long` adds searches of up to a million worlds.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.graph import Graph
from tests.support.explore import Search
from tests.support.lab import dag
from tests.support.protocol import World
from tests.support.protocol_bugs import PLANTED

GRAPHS = {"chain": dag(a="", b="a", c="b"), "fan-in": dag(a="", b="", c="a b"), "diamond": dag(a="", b="a", c="a b")}
# A lapse (a living pod's deadline and leases run out), a crash, a lost reply, a cancel: each at most once, in any order.
SHORT: dict[str, tuple[str, dict[str, int]]] = {
    "chain": ("chain", {"failed": 0, "retry": 0}),
    "chain with a failure": ("chain", {"retry": 0}),
    "fan-in": ("fan-in", {"failed": 0, "retry": 0, "capacity": 1}),
    "diamond": ("diamond", {"failed": 0, "retry": 0}),
    "diamond with a retry and a release": ("diamond", {"failed": 0, "lapse": 0, "crash": 0, "released": 1}),
}
LONG: dict[str, tuple[str, dict[str, int]]] = {
    "all of it in a chain": ("chain", {"released": 1}),
    "all of it in a fan-in": ("fan-in", {}),
    "all of it in a diamond": ("diamond", {}),
}
SEARCHES = SHORT | (LONG if os.environ.get("HYPOTHESIS_PROFILE") == "long" else {})


def graph(name: str) -> Graph:
    return compile_definition(WorkflowDefinition.model_validate(GRAPHS[name]))


def start(name: str, options: dict[str, Any]) -> World:
    return World.start(graph(name), **options)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("name", SEARCHES)
def test_no_world_violates_an_invariant_and_from_every_one_the_run_can_end(name: str) -> None:
    shape, options = SEARCHES[name]
    found = Search(start(shape, options), 1_000_000).run()
    assert not found.violation, found.violation
    assert found.worlds > 5_000
    assert found.met["commits succeeded gets task the reply is lost"]
    assert found.met["a client cancels"]


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_and_the_shortest_way_to_it_is_told(bug: str) -> None:
    invariant, begin = PLANTED[bug]
    found = Search(begin(graph("diamond")), 10_000).run()
    first, *way = found.violation.splitlines()
    assert first.startswith(f"{invariant}: ")
    assert way[0].startswith("   run running, 0:ready")
    assert [line[0] for line in way[1::2]] == [str(place) for place in range(1, len(way) // 2 + 1)]


def test_a_counterexample_reads_as_a_story() -> None:
    _, begin = PLANTED["operation ids of the dead are not remembered"]
    assert Search(begin(graph("diamond")), 10_000).run().violation.splitlines() == [
        "S17: a repeated call claims again",
        "   run running, 0:ready 1:pending 2:pending, queue [0], leases [], p1[] p2[]",
        "1. p1 claims, gets task 0; the reply is lost",
        "   run running, 0:running(0.1) 1:pending 2:pending, queue [], leases ['0.1'], p1[] p2[]",
        "2. p1's deadline and leases run out",
        "   run running, 0:running(0.1) 1:pending 2:pending, queue [], leases [], p1[] p2[]",
        "3. p2 reaps",
        "   run running, 0:ready 1:pending 2:pending, queue [0], leases [], p1[] p2[]",
        "4. p1 beats",
        "   run running, 0:ready 1:pending 2:pending, queue [0], leases [], p1[] p2[]",
        "5. p1 repeats its call, gets task 0",
        "   run running, 0:running(0.2) 1:pending 2:pending, queue [], leases ['0.2'], p1[0.2] p2[]",
    ]


def test_a_search_does_not_go_on_past_its_bound() -> None:
    with pytest.raises(AssertionError, match="more than 100 worlds"):
        Search(start("chain", {}), 100).run()
