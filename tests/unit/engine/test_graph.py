from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.support.documents import dag, graph_of, steps


def test_the_order_keeps_the_definition_order_among_equals() -> None:
    assert graph_of(dag(c="", a="", b="c a")).order() == ["c", "a", "b"]


def test_the_critical_path_is_a_longest_chain() -> None:
    assert graph_of(dag(a="", b="a", c="b", x="", d="c x", y="x")).critical_path() == ["a", "b", "c", "d"]


def test_the_first_of_two_equal_critical_paths_is_taken() -> None:
    assert graph_of(dag(a="", b="", c="a", d="b")).critical_path() == ["a", "c"]
    assert graph_of(dag(a="", b="", c="a b")).critical_path() == ["a", "c"]


def test_a_single_task_is_its_own_critical_path() -> None:
    assert graph_of(steps("task_a")).critical_path() == ["task_a"]


@given(st.data())
def test_every_task_stands_in_the_order_behind_all_that_it_depends_on(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    names = data.draw(st.permutations([f"t{number}" for number in range(size)]))
    tasks: dict[str, JsonValue] = {}
    for position, name in enumerate(names):
        before = data.draw(st.lists(st.sampled_from(names[:position]), unique=True)) if position else []
        tasks[name] = {"task": "task_a", "depends_on": list[JsonValue](before)}
    graph = graph_of({"tasks": dict(sorted(tasks.items()))})
    place = {task_id: position for position, task_id in enumerate(graph.order())}
    assert len(place) == size
    path = graph.critical_path()
    for index, predecessors in enumerate(graph.predecessors):
        assert all(place[graph.tasks[before].id] < place[graph.tasks[index].id] for before in predecessors)
    for before, after in pairwise(path):
        assert graph.index_of[before] in graph.predecessors[graph.index_of[after]]
    assert graph.edge_count == sum(graph.in_degree(index) for index in range(size))
