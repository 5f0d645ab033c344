"""What the audit works out from tasks' states: nothing of a sound run, and of a damaged one just what is missing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from storage.graphs import RunGraph
from storage.recount import COUNTED, Repairs, Survey, find_repairs, standing
from tests.support.damage import random_document
from tests.support.lab import dag
from tests.support.run_model import RunModel

LETTERS = {"pending": "p", "ready": "r", "running": "x", "waiting": "w", "succeeded": "s", "failed": "f", "skipped": "k"}


def graph_of(document: dict[str, Any]) -> RunGraph:
    definition = WorkflowDefinition.model_validate(document)
    return RunGraph(definition, compile_definition(definition))


def survey(
    graph: RunGraph, states: str, edges: Mapping[int, int] | None = None, *, still: bool = True, counted: list[int] | None = None
) -> Survey:
    """A survey whose counters agree, unless they are given."""
    hard = sum(state == "f" and not task.allow_failure for state, task in zip(states, graph.graph.tasks, strict=True))
    return Survey(states, edges or {}, counted or [*(states.count(state) for state in COUNTED), hard], 7, still)


DIAMOND = graph_of(dag(a="", b="a", c="a", d="b c", e={"depends_on": ["d"], "allow_failure": True, "priority": 3}))


@pytest.mark.parametrize(
    ("states", "edges"), [("rpppp", {}), ("xpppp", {}), ("wpppp", {}), ("srrpp", {}), ("ssxpp", {3: 1}), ("sfxkk", {3: 131_073})]
)
def test_nothing_is_found_in_a_sound_run(states: str, edges: dict[int, int]) -> None:
    assert not find_repairs(DIAMOND, survey(DIAMOND, states, edges))


@pytest.mark.parametrize(
    ("states", "edges", "free", "fenced"),
    [
        ("ppppp", {}, ["ready 0 - 0 default/task_a"], []),
        ("sprpp", {}, ["ready 1 - 0 default/task_a"], []),
        ("ssspp", {3: 1}, ["ready 3 - 0 default/task_a"], []),
        ("ssssp", {}, ["ready 4 a 3 default/task_a"], []),
        ("fpkpp", {3: 131_073}, ["skipped 1 0 upstream 0"], ["skipped 3 131073 upstream 2"]),
        ("sfxpp", {3: 131_073}, [], ["skipped 3 131073 upstream 1"]),
        ("sfxkp", {}, ["skipped 4 0 upstream 3"], ["edges 3 131073"]),
        ("ssxpp", {}, [], ["edges 3 1"]),
        ("srxpp", {3: 1}, [], ["edges 3 0"]),
    ],
)
def test_what_was_lost_is_found(states: str, edges: dict[int, int], free: list[str], fenced: list[str]) -> None:
    assert find_repairs(DIAMOND, survey(DIAMOND, states, edges)) == Repairs(free, fenced)
    assert find_repairs(DIAMOND, survey(DIAMOND, states, edges, still=False)) == Repairs(free), "the rest may have changed meanwhile"


def test_counts_that_are_not_the_states_are_found() -> None:
    assert find_repairs(DIAMOND, survey(DIAMOND, "sfxkk", {3: 131_073}, counted=[0, 1, 0, 1, 1, 2, 0])).recount == "0 1 0 1 1 2 1"
    assert find_repairs(DIAMOND, survey(DIAMOND, "sfxkk", {3: 131_073}, counted=[0] * 7, still=False)) == Repairs()


def test_a_failure_that_is_allowed_does_not_count() -> None:
    assert find_repairs(DIAMOND, survey(DIAMOND, "ssssf", counted=[0] * 7)).recount == "0 0 0 4 1 0 0"


def test_a_run_whose_tasks_have_all_ended_is_found_though_its_counts_agree() -> None:
    assert find_repairs(DIAMOND, survey(DIAMOND, "sssss")) == Repairs(recount="0 0 0 5 0 0 0")


def test_a_run_in_which_nothing_can_move_is_a_dead_end_that_names_its_tasks() -> None:
    assert find_repairs(DIAMOND, survey(DIAMOND, "s?spp", {3: 1})).dead_end == "no task can move any more: b, d, e"
    assert not find_repairs(DIAMOND, survey(DIAMOND, "s?xpp"))
    wide = graph_of(dag(a="", **{f"b{number}": "a" for number in range(20)}))
    assert find_repairs(wide, survey(wide, "?" + "p" * 20)).dead_end.endswith(", b8 and 11 more")


def test_a_task_without_predecessors_is_complete() -> None:
    assert standing(DIAMOND.graph, "ppppp", 0).complete
    assert standing(DIAMOND.graph, "ppppp", 0).state == "r"


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_ever_found_in_a_run_of_the_model_that_has_no_slice_under_way(seed: int) -> None:
    source = random.Random(seed)
    graph = graph_of(random_document(source) | {"on_failure": "continue"})
    model = RunModel(graph.graph, budget=2)
    looks = 0
    while model.state == "running":
        act(model, source)
        if not model.slices and model.state == "running":
            states = "".join(LETTERS[task.state] for task in model.tasks)
            assert not find_repairs(graph, survey(graph, states, edge_counts(model))), states
            looks += 1
    assert looks or len(model.tasks) == 1


def act(model: RunModel, source: random.Random) -> None:
    """One step of a pod."""
    if model.slices and source.random() < 0.7:
        model.pass_on(*source.choice(sorted(model.slices)))
        return
    index = source.randrange(len(model.tasks))
    match model.tasks[index].state:
        case "ready":
            model.start(index, "claim")
        case "running":
            model.commit(index, "claim", source.choice(["succeeded", "succeeded", "failed", "retry", "sleep"]))
        case "waiting":
            model.fire(index)
        case _:
            pass


def edge_counts(model: RunModel) -> dict[int, int]:
    """As the scripts keep them: for tasks with several predecessors of which some have ended and some have not."""
    counts: dict[int, int] = {}
    for to, heard in enumerate(model.heard):
        counts[to] = sum(1 if succeeded else 131_073 for _, succeeded in heard)
    return {to: count for to, count in counts.items() if 0 < count % 131_072 < model.graph.in_degree(to)}
