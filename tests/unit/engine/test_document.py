"""A refused document gets all its problems in one answer."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from engine.compile import compile_document
from engine.errors import DefinitionError
from engine.excerpt import excerpt
from tests.support.documents import FUNCTIONS, dag, graph_of, places_of, problems_of, resolve, steps


def test_wrong_fields_and_broken_dependencies_are_found_together_in_a_dag() -> None:
    document: JsonValue = {
        "labels": [],
        "tasks": {
            "a": {"task": "task_a", "depends_on": ["b"], "timeout": "5"},
            "b": {"task": "task_b", "depends_on": ["a", 7, "x y", "nobody", "a"], "id": "b"},
            "c": {"task": "tsk_c", "args": {"x": "${y}"}, "retry": {"max_attempts": 0}},
            "d": "task_a",
            "e": {"task": ["task_a"], "depends_on": "a", "args": 1},
        },
    }
    assert places_of(document) == {
        ("invalid-value", "/labels"),
        ("invalid-value", "/tasks/a/timeout"),
        ("invalid-value", "/tasks/b/depends_on/1"),
        ("invalid-value", "/tasks/b/depends_on/2"),
        ("unknown-dependency", "/tasks/b/depends_on/3"),
        ("duplicate-dependency", "/tasks/b/depends_on/4"),
        ("unknown-field", "/tasks/b/id"),
        ("unknown-function", "/tasks/c/task"),
        ("not-available", "/tasks/c/args/x"),
        ("invalid-value", "/tasks/c/retry/max_attempts"),
        ("invalid-value", "/tasks/d"),
        ("invalid-value", "/tasks/e/task"),
        ("invalid-value", "/tasks/e/depends_on"),
        ("invalid-value", "/tasks/e/args"),
        ("cycle", "/tasks/a/depends_on/0"),
    }


def test_wrong_fields_and_repeated_ids_are_found_together_in_steps() -> None:
    document: JsonValue = {
        "steps": [
            "task_a",
            {"type": "both", "tasks": ["task_x", None, {"task": "task_a", "id": "x"}, {"type": "parallel", "tasks": []}]},
            {"type": "parallel", "tasks": [{"task": "task_b", "id": "x", "args": {"a": "${b}"}}, {"type": "parallel", "tasks": "task_a"}]},
        ]
    }
    assert places_of(document) == {
        ("invalid-value", "/steps/0"),
        ("invalid-value", "/steps/1/type"),
        ("unknown-function", "/steps/1/tasks/0"),
        ("invalid-value", "/steps/1/tasks/1"),
        ("invalid-value", "/steps/1/tasks/3/tasks"),
        ("duplicate-task", "/steps/2/tasks/0/id"),
        ("not-available", "/steps/2/tasks/0/args/a"),
        ("invalid-value", "/steps/2/tasks/1/tasks"),
    }


def test_a_document_of_mistakes_gets_an_answer_of_bounded_size() -> None:
    document: JsonValue = {"tasks": {f"t{number}": {"task": "task_a", "timeout": "x"} for number in range(1_000)}}
    problems = problems_of(document)
    assert len(problems) == 101
    assert (problems[-1].code, problems[-1].pointer, problems[-1].message) == (
        "more-problems",
        "",
        "only the first 100 problems are listed",
    )


def test_a_document_of_mistakes_behind_many_right_tasks_is_described_where_they_are() -> None:
    tasks: dict[str, JsonValue] = {f"t{number}": {"task": "task_a" if number < 300 else 5} for number in range(6_000)}
    problems = problems_of({"tasks": tasks})
    assert (problems[0].pointer, problems[99].pointer) == ("/tasks/t300/task", "/tasks/t399/task")


def test_an_excerpt_does_not_lack_the_fields_that_stand_behind_a_crowd_of_others() -> None:
    task: dict[str, JsonValue] = {**{f"x{number}": 1 for number in range(900)}, "task": "task_a"}
    tasks: dict[str, JsonValue] = {f"t{number}": task for number in range(6)}
    assert {problem.code for problem in problems_of({"tasks": tasks})} == {"unknown-field", "more-problems"}


def test_an_excerpt_cuts_arrays_and_objects_and_keeps_what_is_very_deep() -> None:
    assert excerpt({"a": [1, 2, 3], "b": 4, "task": 5}, 2, {"task"}) == {"a": [1, 2], "b": 4, "task": 5}
    deep: JsonValue = [1, 2, 3]
    for _ in range(100):
        deep = [deep]
    assert excerpt(deep, 2, ()) == deep


WIDE: dict[str, JsonValue] = {f"x {number}": 1 for number in range(1_001)}


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (WIDE, ""),
        ({"labels": WIDE}, "/labels"),
        ({"tasks": {"a/b": WIDE}}, "/tasks/a~1b"),
        ({"tasks": {"a": {"retry": WIDE}}}, "/tasks/a/retry"),
        ({"tasks": {"a": {"retry": {"wait": WIDE}}}}, "/tasks/a/retry/wait"),
        ({"tasks": {"a": {"retry": {"on": list[JsonValue](WIDE)}}}}, "/tasks/a/retry/on"),
        (steps(WIDE), "/steps"),
    ],
)
def test_an_object_of_mistakes_is_refused_as_a_whole(document: JsonValue, pointer: str) -> None:
    (problem,) = problems_of(document)
    assert (problem.code, problem.pointer) == ("limit-exceeded", pointer)
    assert problem.message.startswith("1001 ")


def test_a_long_list_of_ids_that_are_none_is_refused_as_a_whole() -> None:
    names: list[JsonValue] = ["a", "x y", 5] * 2_000
    (problem,) = problems_of({"tasks": {"a": {"task": "task_a", "depends_on": names}}})
    assert (problem.code, problem.pointer) == ("invalid-value", "/tasks/a/depends_on")
    assert problem.message == "4000 of 6000 entries cannot be ids"


def test_a_long_list_of_right_ids_is_accepted() -> None:
    tasks: dict[str, JsonValue] = {f"t{number}": {"task": "task_a"} for number in range(5_001)}
    tasks["end"] = {"task": "task_b", "depends_on": list[JsonValue](tasks)}
    graph = graph_of({"tasks": tasks})
    assert (graph.edge_count, graph.roots) == (5_001, tuple(range(5_001)))


def test_a_wrong_name_gets_the_same_suggestion_wherever_it_stands() -> None:
    problems = problems_of({"tasks": {task_id: {"task": "tsk_a"} for task_id in "ab"}})
    assert [problem.remedy for problem in problems] == ['did you mean "task_a"?'] * 2


def test_suggestions_stop_before_they_become_expensive() -> None:
    document: JsonValue = {"tasks": {f"t{number}": {"task": "task_a", "depends_on": [f"t{number}x"]} for number in range(2_000)}}
    remedies = [problem.remedy for problem in problems_of(document)]
    assert remedies[1] == 'did you mean "t1"?'
    assert remedies[99] == "name a task of this definition"


def test_the_text_of_an_error_lists_every_problem_without_control_characters() -> None:
    document = cast(dict[str, JsonValue], dag(a="a"))
    document["x\u001b\n"] = 1
    try:
        compile_document(document)
    except DefinitionError as refused:
        lines = str(refused).split("\n")
    else:
        raise AssertionError("the document was accepted")
    assert lines == [
        '/x\\x1b\\n: "x\\u001b\\n" is not a field of the definition; leave it out',
        "/tasks/a/depends_on/0: cycle: a → a; take out one of these dependencies",
    ]


EXAMPLE: dict[str, JsonValue] = {
    "name": "x",
    "labels": {"team": "y"},
    "input": {"z": [1]},
    "tasks": {
        "a": {"task": "task_a", "args": {"k": ["v"]}},
        "b": {"task": "task_b", "depends_on": ["a"], "retry": {"max_attempts": 2, "wait": {"initial": 2}, "on": ["OSError"]}},
    },
}
NESTED: dict[str, JsonValue] = {
    "steps": [{"type": "parallel", "tasks": ["task_a", {"task": "echo", "id": "e"}, {"type": "sequential", "tasks": ["task_b"]}]}],
}
JUNK: list[JsonValue] = [None, True, 5, -1.5, "", "x y", "task_a", "tasks", "[key]", "a/b~c", [], {}, ["a"], {"task": 1}, {"tasks": [[]]}]


def places(value: JsonValue) -> list[tuple[Any, Any]]:
    """(container, key or position) of everything inside."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += [(value, key), *places(item)]
    elif isinstance(value, list):
        for position, item in enumerate(value):
            found += [(value, position), *places(item)]
    return found


@given(st.data(), st.sampled_from([EXAMPLE, NESTED]))
def test_every_spoiled_document_is_accepted_or_refused_with_places_that_exist(data: st.DataObject, example: JsonValue) -> None:
    document: JsonValue = json.loads(json.dumps(example))
    for _ in range(data.draw(st.integers(1, 4))):
        container, key = data.draw(st.sampled_from(places(document)))
        junk: JsonValue = json.loads(json.dumps(data.draw(st.sampled_from(JUNK))))
        if isinstance(container, dict):
            container = cast(dict[str, JsonValue], container)
            container[data.draw(st.sampled_from([key, "tasks", "task", "type", "id", "steps", "[key]", "wait"]))] = junk
        else:
            container[key] = junk
    try:
        compile_document(document, functions=FUNCTIONS)
    except DefinitionError as refused:
        for problem in refused.problems:
            resolve(document, problem.pointer)
