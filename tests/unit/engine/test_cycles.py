from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from engine.cycles import find_cycles
from tests.support.documents import dag, graph_of, problems_of


def chain(size: int, first_depends_on: str | None) -> JsonValue:
    tasks: dict[str, JsonValue] = {"t0": {"task": "task_a", "depends_on": [] if first_depends_on is None else [first_depends_on]}}
    for number in range(1, size):
        tasks[f"t{number}"] = {"task": "task_a", "depends_on": [f"t{number - 1}"]}
    return {"tasks": tasks}


def test_a_cycle_is_printed_as_a_path_in_the_order_of_execution() -> None:
    (problem,) = problems_of(dag(start="", build="start test", test="build", ship="test"))
    assert problem.code == "cycle"
    assert problem.message == "cycle: build → test → build"
    assert problem.pointer == "/tasks/build/depends_on/1"


def test_a_task_that_depends_on_itself_is_a_cycle() -> None:
    (problem,) = problems_of(dag(a="a"))
    assert (problem.message, problem.pointer) == ("cycle: a → a", "/tasks/a/depends_on/0")


def test_each_knot_of_tasks_is_reported_once_and_tasks_between_knots_are_not() -> None:
    problems = problems_of(dag(a="b", b="a", between="b", c="between d", d="c e", e="d", after="e"))
    assert [problem.message for problem in problems] == ["cycle: a → b → a", "cycle: c → d → c"]


def test_the_shortest_way_round_is_shown() -> None:
    (problem,) = problems_of(dag(a="d c", b="a", c="b a", d="c"))
    assert problem.message == "cycle: a → c → a"


def test_a_long_cycle_is_shortened_in_its_middle() -> None:
    (problem,) = problems_of(chain(100, "t99"))
    assert problem.message.startswith("cycle: t0 → t1 → ")
    assert problem.message.endswith(" → t98 → t99 → t0")
    assert "t9 → … 81 more … → t91" in problem.message


def test_a_cycle_of_twenty_thousand_tasks_is_found() -> None:
    (problem,) = problems_of(chain(20_000, "t19999"))
    assert (problem.code, problem.pointer) == ("cycle", "/tasks/t0/depends_on/0")


def test_a_chain_of_twenty_thousand_tasks_is_ordered() -> None:
    graph = graph_of(chain(20_000, None))
    assert graph.order()[-1] == "t19999"
    assert len(graph.critical_path()) == 20_000


@given(st.lists(st.lists(st.integers(0, 7), max_size=3, unique=True), min_size=8, max_size=8))
def test_cycles_are_real_and_none_is_missed(successors: list[list[int]]) -> None:
    in_degrees = [0] * 8
    for after in successors:
        for index in after:
            in_degrees[index] += 1
    cycles = find_cycles(successors, in_degrees)
    for cycle in cycles:
        assert all(after in successors[before] for before, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert len(set(cycle)) == len(cycle)
    knots = [reachable_both_ways(cycle[0], successors) for cycle in cycles]
    on_a_cycle = {index for index in range(8) if index in reachable(index, successors)}
    assert sorted(index for knot in knots for index in knot) == sorted(on_a_cycle)
    assert all(set(cycle) <= knot for cycle, knot in zip(cycles, knots, strict=True))


def reachable_both_ways(start: int, successors: list[list[int]]) -> set[int]:
    return {index for index in reachable(start, successors) if start in reachable(index, successors)}


def reachable(start: int, successors: list[list[int]]) -> set[int]:
    found: set[int] = set()
    open_tasks = list(successors[start])
    while open_tasks:
        task = open_tasks.pop()
        if task not in found:
            found.add(task)
            open_tasks.extend(successors[task])
    return found
