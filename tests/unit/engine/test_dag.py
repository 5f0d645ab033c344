from __future__ import annotations

from typing import cast

import pytest
from pydantic import JsonValue

from engine.compile import compile_definition
from engine.definition import NO_RETRY, Step, TaskSpec, WorkflowDefinition
from engine.errors import DefinitionError
from engine.limits import Limits
from tests.support.documents import FUNCTIONS, dag, edges_of, graph_of, places_of, problems_of


def task(document: JsonValue, task_id: str) -> dict[str, JsonValue]:
    """The task's object inside a DAG document, to be changed."""
    tasks = cast(dict[str, dict[str, dict[str, JsonValue]]], document)["tasks"]
    return tasks[task_id]


def test_a_diamond_has_its_edges_both_ways() -> None:
    graph = graph_of(dag(a="", b="a", c="a", d="b c"))
    assert edges_of(graph) == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}
    assert graph.roots == (0,)
    assert graph.successors == ((1, 2), (3,), (3,), ())
    assert graph.predecessors == ((), (0,), (0,), (1, 2))
    assert [graph.in_degree(index) for index in range(4)] == [0, 1, 1, 2]
    assert graph.index_of == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_tasks_may_depend_on_tasks_that_stand_behind_them() -> None:
    graph = graph_of(dag(last="first", first=""))
    assert edges_of(graph) == {("first", "last")}
    assert graph.order() == ["first", "last"]


def test_a_task_carries_everything_that_its_definition_says() -> None:
    document: JsonValue = {
        "name": "etl",
        "priority": 5,
        "on_failure": "stop",
        "tasks": {
            "a": {
                "task": "echo",
                "args": {"value": [1, None, "x"]},
                "retry": {"max_attempts": 3, "wait": {"initial": 0.5, "max": 9}, "on": ["OSError"]},
                "timeout": 30,
                "heartbeat_timeout": 5.5,
                "allow_failure": True,
                "priority": -100,
                "queue": "gpu",
            },
            "b": {"task": "task_b"},
        },
    }
    graph = graph_of(document)
    first, second = graph.tasks
    assert (graph.name, graph.on_failure) == ("etl", "stop")
    assert (first.index, first.id, first.function, first.queue, first.priority) == (0, "a", "echo", "gpu", -100)
    assert (first.args, first.timeout_seconds, first.allow_failure) == ({"value": [1, None, "x"]}, 30.0, True)
    assert (first.heartbeat_timeout_seconds, second.heartbeat_timeout_seconds) == (5.5, None)
    assert (first.retry.max_attempts, first.retry.wait.initial, first.retry.wait.max, first.retry.on) == (3, 0.5, 9.0, ["OSError"])
    assert (second.queue, second.priority, second.timeout_seconds, second.allow_failure) == ("default", 5, None, False)
    assert second.retry == NO_RETRY


def test_a_task_of_priority_zero_does_not_take_the_priority_of_the_run() -> None:
    document: JsonValue = {"priority": 7, "tasks": {"a": {"task": "task_a", "priority": 0}}}
    assert graph_of(document).tasks[0].priority == 0


def test_an_unknown_dependency_is_refused_with_the_nearest_id() -> None:
    (problem,) = problems_of(dag(extract="", load="extract extrct"))
    assert (problem.code, problem.pointer) == ("unknown-dependency", "/tasks/load/depends_on/1")
    assert problem.message == 'no task has the id "extrct"'
    assert problem.remedy == 'did you mean "extract"?'


def test_a_dependency_named_twice_is_refused() -> None:
    assert places_of(dag(a="", b="a a")) == {("duplicate-dependency", "/tasks/b/depends_on/1")}


def test_an_id_is_refused_in_a_dag() -> None:
    document = dag(a="")
    task(document, "a")["id"] = "b"
    (problem,) = problems_of(document)
    assert (problem.code, problem.pointer) == ("unknown-field", "/tasks/a/id")
    assert problem.remedy == "leave it out: in a DAG the key is the id"


@pytest.mark.parametrize("task_id", [".", ".."])
def test_an_id_that_urls_cannot_carry_is_refused(task_id: str) -> None:
    assert places_of({"tasks": {task_id: {"task": "task_a"}}}) == {("invalid-value", f"/tasks/{task_id}")}


def test_functions_are_not_asked_for_when_none_are_given() -> None:
    definition = WorkflowDefinition(tasks={"a": TaskSpec(task="gone")})
    assert compile_definition(definition, functions=None).tasks[0].function == "gone"
    with pytest.raises(DefinitionError, match="no function is registered"):
        compile_definition(definition, functions=FUNCTIONS)


def test_a_stored_definition_is_compiled_on_a_pod_with_narrower_limits() -> None:
    nested: JsonValue = "deep"
    for _ in range(100):
        nested = [nested]
    args: dict[str, JsonValue] = {"nested": nested, "large": "x" * (Limits().args_bytes + 1)}
    item: str | Step = "task_a"
    for _ in range(Limits().nesting + 1):
        item = Step(type="sequential", tasks=[item])
    assert isinstance(item, Step)
    definition = WorkflowDefinition(steps=[item, Step(type="sequential", tasks=[TaskSpec(task="task_b", args=args)])])
    assert compile_definition(definition).order() == ["task_a", "task_b"]
    with pytest.raises(DefinitionError, match="are more than the limit of"):
        compile_definition(definition, limits=Limits(depth=200))


def test_too_many_dependencies_are_refused_with_both_numbers() -> None:
    (problem,) = problems_of(dag(a="", b="a", c="a b"), limits=Limits(edges=2))
    assert (problem.code, problem.pointer, problem.message) == ("limit-exceeded", "/tasks", "3 edges are more than the limit of 2")
    assert graph_of(dag(a="", b="a", c="a b"), Limits(edges=3)).edge_count == 3


def test_too_many_tasks_are_refused_before_anything_else_is_looked_at() -> None:
    document: JsonValue = {"tasks": {str(number): None for number in range(100_001)}}
    (problem,) = problems_of(document)
    assert problem.message == "100001 tasks are more than the limit of 100000"


def test_limits_hold_for_definitions_made_in_python_too() -> None:
    definition = WorkflowDefinition(tasks={"a": TaskSpec(task="task_a"), "b": TaskSpec(task="task_a", depends_on=["a"])})
    with pytest.raises(DefinitionError, match="2 tasks are more than the limit of 1"):
        compile_definition(definition, limits=Limits(tasks=1))
    with pytest.raises(DefinitionError, match="1 edges are more than the limit of 0"):
        compile_definition(definition, limits=Limits(edges=0))


def test_arguments_as_large_as_the_limit_are_accepted_and_larger_ones_refused() -> None:
    document = dag(a="")
    task(document, "a")["args"] = {"x": "é" * 10}
    assert graph_of(document, Limits(args_bytes=28)).tasks[0].args == {"x": "é" * 10}
    (problem,) = problems_of(document, limits=Limits(args_bytes=27))
    assert (problem.code, problem.pointer) == ("limit-exceeded", "/tasks/a/args")
    assert problem.message == "28 bytes of arguments are more than the limit of 27"


def test_texts_that_look_like_expressions_are_refused_wherever_they_are() -> None:
    document = dag(a="")
    task(document, "a")["args"] = {"u/rl": "x${input.day}", "list": [1, ["$", "${", {"deep": "${x}"}]], "${key}": "$ {fine}"}
    problems = problems_of(document)
    assert [problem.pointer for problem in problems] == ["/tasks/a/args/u~1rl", "/tasks/a/args/list/1/1", "/tasks/a/args/list/1/2/deep"]
    assert {problem.code for problem in problems} == {"not-available"}
    assert "not available yet" in problems[0].message


def test_a_thousand_texts_that_look_like_expressions_are_not_all_listed() -> None:
    document = dag(a="", b="")
    task(document, "a")["args"] = {"x": list[JsonValue](["${"] * 1_000)}
    assert len(problems_of(document)) == 101


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "\ud800"])
def test_arguments_made_in_python_that_json_cannot_hold_are_refused(value: JsonValue) -> None:
    definition = WorkflowDefinition(tasks={"a": TaskSpec(task="task_a", args={"x": value})})
    with pytest.raises(DefinitionError, match="/tasks/a/args: the arguments are not JSON"):
        compile_definition(definition)


def test_arguments_that_only_mention_what_json_cannot_hold_are_accepted() -> None:
    definition = WorkflowDefinition(tasks={"a": TaskSpec(task="task_a", args={"x": "NaN Infinity", "y": "[" * 100})})
    assert compile_definition(definition).tasks[0].args["x"] == "NaN Infinity"
