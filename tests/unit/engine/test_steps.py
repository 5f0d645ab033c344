from __future__ import annotations

from pydantic import JsonValue

from engine.compile import compile_document
from engine.limits import Limits
from tests.support.documents import edges_of, graph_of, places_of, problems_of, steps


def ids_of(document: JsonValue) -> list[str]:
    return [task.id for task in graph_of(document).tasks]


def test_steps_run_one_after_the_other() -> None:
    document: JsonValue = {
        "steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}, {"type": "sequential", "tasks": ["task_c"]}],
    }
    graph = graph_of(document)
    assert edges_of(graph) == {("task_a", "task_c"), ("task_b", "task_c")}
    assert graph.roots == (0, 1)


def test_items_of_a_sequential_step_form_a_chain() -> None:
    graph = graph_of(steps("task_a", "task_b", "task_c"))
    assert edges_of(graph) == {("task_a", "task_b"), ("task_b", "task_c")}


def test_parallel_steps_in_a_row_wait_for_each_other_completely() -> None:
    parallel: JsonValue = {"type": "parallel", "tasks": ["task_a", "task_b"]}
    graph = graph_of({"steps": [parallel, parallel]})
    assert edges_of(graph) == {("task_a", "task_a_2"), ("task_a", "task_b_2"), ("task_b", "task_a_2"), ("task_b", "task_b_2")}
    assert graph.edge_count == 4


def test_nested_steps_start_with_their_first_items_and_end_with_their_last() -> None:
    fork: JsonValue = {"type": "parallel", "tasks": [{"type": "sequential", "tasks": ["task_b", "echo"]}, "task_c"]}
    graph = graph_of(steps("task_a", fork, "sleep"))
    assert edges_of(graph) == {("task_a", "task_b"), ("task_b", "echo"), ("task_a", "task_c"), ("echo", "sleep"), ("task_c", "sleep")}


def test_tasks_are_numbered_in_the_order_of_the_document() -> None:
    inner: JsonValue = {"type": "parallel", "tasks": ["task_b", "task_c"]}
    assert ids_of(steps("task_a", inner, "echo")) == ["task_a", "task_b", "task_c", "echo"]


def test_repeated_functions_get_suffixes() -> None:
    assert ids_of(steps("task_a", "task_b", "task_a", "task_a")) == ["task_a", "task_b", "task_a_2", "task_a_3"]


def test_a_generated_id_never_clashes_with_one_that_is_given_later() -> None:
    given: list[JsonValue] = [{"task": "echo", "id": "task_a_2"}, {"task": "echo", "id": "task_b"}]
    assert ids_of(steps("task_a", "task_a", "task_b", *given)) == ["task_a", "task_a_3", "task_b_2", "task_a_2", "task_b"]


def test_a_generated_id_never_clashes_with_a_function_that_looks_like_one() -> None:
    _, graph = compile_document(steps("f", "f", "f_2", "f"), functions=None)
    assert [task.id for task in graph.tasks] == ["f", "f_2", "f_2_2", "f_3"]


def test_a_generated_id_is_never_longer_than_ids_may_be() -> None:
    name = "f" * 128
    _, graph = compile_document(steps(*[name] * 12), functions=None)
    ids = [task.id for task in graph.tasks]
    assert ids[1] == "f" * 126 + "_2"
    assert ids[11] == "f" * 125 + "_12"
    assert len(set(ids)) == 12


def test_an_id_given_twice_is_refused_at_the_second_place() -> None:
    document = steps({"task": "task_a", "id": "x"}, {"task": "task_b", "id": "x"}, "echo")
    (problem,) = problems_of(document)
    assert (problem.code, problem.pointer) == ("duplicate-task", "/steps/0/tasks/1/id")
    assert problem.message == 'the id "x" is given 2 times'


def test_depends_on_is_refused_in_steps() -> None:
    (problem,) = problems_of(steps({"task": "task_a"}, {"task": "task_b", "depends_on": ["task_a"]}))
    assert (problem.code, problem.pointer) == ("unknown-field", "/steps/0/tasks/1/depends_on")
    assert "belongs to a DAG" in problem.message


def test_an_unknown_function_is_refused_where_it_is_named() -> None:
    document = steps("task_x", {"task": "nothing_like_it"})
    plain, in_task = problems_of(document)
    assert (plain.code, plain.pointer, plain.remedy) == ("unknown-function", "/steps/0/tasks/0", 'did you mean "task_c"?')
    assert (in_task.code, in_task.pointer) == ("unknown-function", "/steps/0/tasks/1/task")
    assert "register it" in in_task.remedy


def nested(levels: int) -> JsonValue:
    item: JsonValue = "task_a"
    for _ in range(levels):
        item = {"type": "sequential", "tasks": [item]}
    return {"steps": [item]}


def test_steps_nested_as_deep_as_the_limit_are_accepted() -> None:
    assert len(graph_of(nested(32)).tasks) == 1


def test_steps_nested_deeper_than_the_limit_are_refused() -> None:
    (problem,) = problems_of(nested(33))
    assert problem.code == "limit-exceeded"
    assert problem.pointer == "/steps/0" + "/tasks/0" * 32
    assert "32" in problem.message


def test_a_limit_of_nesting_and_a_wrong_field_are_found_together() -> None:
    document = nested(4)
    assert isinstance(document, dict)
    document["priority"] = "high"
    assert places_of(document, Limits(nesting=3)) == {
        ("invalid-value", "/priority"),
        ("limit-exceeded", "/steps/0/tasks/0/tasks/0/tasks/0"),
    }


def test_steps_nested_beyond_all_reason_are_refused() -> None:
    problems = problems_of(nested(3_000))
    assert {problem.code for problem in problems} == {"limit-exceeded"}
    assert "/steps/0" + "/tasks/0" * 32 in {problem.pointer for problem in problems}


def test_two_wide_steps_are_refused_by_the_product_of_their_sizes() -> None:
    wide: JsonValue = {"type": "parallel", "tasks": list[JsonValue](["task_a"] * 1001)}
    (problem,) = problems_of({"steps": [wide, wide]})
    assert (problem.code, problem.pointer) == ("limit-exceeded", "/steps")
    assert problem.message == "1002001 edges are more than the limit of 1000000"


def test_more_tasks_than_the_limit_are_refused_with_both_numbers() -> None:
    (problem,) = problems_of(steps("task_a", "task_b", steps_item("task_c", "echo")), limits=Limits(tasks=3))
    assert (problem.code, problem.pointer) == ("limit-exceeded", "/steps")
    assert problem.message == "4 tasks are more than the limit of 3"
    assert len(graph_of(steps("task_a", "task_b", "task_c"), Limits(tasks=3)).tasks) == 3


def steps_item(*items: JsonValue) -> JsonValue:
    return {"type": "parallel", "tasks": list(items)}


def test_twenty_thousand_repetitions_are_named_in_linear_time() -> None:
    graph = graph_of(steps(*["task_a"] * 20_000))
    assert graph.tasks[-1].id == "task_a_20000"
    assert graph.edge_count == 19_999
