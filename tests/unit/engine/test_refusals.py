"""Each wrong document gets the problem that its author needs: the right place, in words, without pydantic's branches."""

from __future__ import annotations

from typing import cast

import pytest
from pydantic import JsonValue

from engine.definition import MAX_SECONDS
from tests.support.documents import dag, places_of, problems_of, steps

Task = dict[str, JsonValue]


def with_task(**fields: JsonValue) -> JsonValue:
    return {"tasks": {"a": {"task": "task_a", **fields}}}


def with_run(**fields: JsonValue) -> JsonValue:
    return {**cast(Task, dag(a="")), **fields}


def only_problem(document: JsonValue) -> tuple[str, str, str]:
    (problem,) = problems_of(document)
    return problem.code, problem.pointer, problem.message


WRONG_VALUES: list[tuple[JsonValue, str, str]] = [
    (5, "", "must be an object, is 5"),
    ([], "", "must be an object, is an array"),
    (None, "", "must be an object, is null"),
    ({}, "", "exactly one of steps and tasks must be given"),
    ({"steps": "task_a"}, "/steps", 'must be an array, is "task_a"'),
    ({"steps": ["task_a"]}, "/steps/0", 'must be a step, is "task_a"'),
    ({"steps": [{"type": "serial", "tasks": ["task_a"]}]}, "/steps/0/type", 'must be "sequential" or "parallel", is "serial"'),
    ({"steps": [{"type": "parallel", "tasks": []}]}, "/steps/0/tasks", "must not be empty"),
    ({"steps": [{"type": "parallel", "tasks": {}}]}, "/steps/0/tasks", "must be an array, is an object"),
    (steps(5), "/steps/0/tasks/0", "must be a function's name, a task or a step, is 5"),
    (steps(None), "/steps/0/tasks/0", "must be a function's name, a task or a step, is null"),
    (steps(["task_a"]), "/steps/0/tasks/0", "must be a function's name, a task or a step, is an array"),
    (steps(""), "/steps/0/tasks/0", '"" cannot be a name here'),
    (steps("task a"), "/steps/0/tasks/0", '"task a" cannot be a name here'),
    (steps("task_a\n"), "/steps/0/tasks/0", '"task_a\\n" cannot be a name here'),
    (steps("a" * 129), "/steps/0/tasks/0", '"' + "a" * 59 + "… cannot be a name here"),
    (steps({"task": "task_a", "id": "x y"}), "/steps/0/tasks/0/id", '"x y" cannot be a name here'),
    (steps({"task": 5}), "/steps/0/tasks/0/task", "must be a string, is 5"),
    ({"tasks": []}, "/tasks", "must be an object, is an array"),
    ({"tasks": {"a": "task_a"}}, "/tasks/a", 'must be a task, is "task_a"'),
    ({"tasks": {"a/b~": {"task": "task_a"}}}, "/tasks/a~1b~0", '"a/b~" cannot be a name here'),
    ({"tasks": {"[key]": {"task": "task_a"}}}, "/tasks/[key]", '"[key]" cannot be a name here'),
    ({"tasks": {"x\u0000": {"task": "task_a"}}}, "/tasks/x\u0000", '"x\\u0000" cannot be a name here'),
    (with_task(args=[]), "/tasks/a/args", "must be an object, is an array"),
    (with_task(args=None), "/tasks/a/args", "must be an object, is null"),
    (with_task(depends_on="b"), "/tasks/a/depends_on", 'must be an array, is "b"'),
    (with_task(depends_on=[1]), "/tasks/a/depends_on/0", "must be a string, is 1"),
    (with_task(depends_on=["x y"]), "/tasks/a/depends_on/0", '"x y" cannot be a name here'),
    (with_task(retry=3), "/tasks/a/retry", "must be an object, is 3"),
    (with_task(retry={"max_attempts": 0}), "/tasks/a/retry/max_attempts", "must be at least 1, is 0"),
    (with_task(retry={"max_attempts": 10_001}), "/tasks/a/retry/max_attempts", "must be at most 10000, is 10001"),
    (with_task(retry={"max_attempts": True}), "/tasks/a/retry/max_attempts", "must be an integer, is true"),
    (with_task(retry={"max_attempts": "3"}), "/tasks/a/retry/max_attempts", 'must be an integer, is "3"'),
    (with_task(retry={"max_attempts": 3.0}), "/tasks/a/retry/max_attempts", "must be an integer, is 3.0"),
    (with_task(retry={"wait": 1}), "/tasks/a/retry/wait", "must be an object, is 1"),
    (with_task(retry={"wait": {"jitter": 1.5}}), "/tasks/a/retry/wait/jitter", "must be at most 1, is 1.5"),
    (with_task(retry={"wait": {"multiplier": 0.5}}), "/tasks/a/retry/wait/multiplier", "must be at least 1, is 0.5"),
    (with_task(retry={"wait": {"initial": 90}}), "/tasks/a/retry/wait", "max (60 s) must be at least initial (90 s)"),
    (with_task(retry={"on": ["not a name"]}), "/tasks/a/retry/on/0", '"not a name" cannot be the name of an exception class'),
    (with_task(timeout=0), "/tasks/a/timeout", "must be at least 0.001, is 0"),
    (with_task(timeout=-1), "/tasks/a/timeout", "must be at least 0.001, is -1"),
    (with_task(timeout=True), "/tasks/a/timeout", "must be a number, is true"),
    (with_task(timeout="3"), "/tasks/a/timeout", 'must be a number, is "3"'),
    (with_task(timeout=MAX_SECONDS + 1), "/tasks/a/timeout", f"must be at most {MAX_SECONDS:g}, is {MAX_SECONDS + 1}"),
    (with_task(timeout=10**100), "/tasks/a/timeout", "must be at most 3.1536e+08, is 1" + "0" * 59 + "…"),
    (with_task(heartbeat_timeout=0), "/tasks/a/heartbeat_timeout", "must be at least 0.001, is 0"),
    (with_task(heartbeat_timeout="3"), "/tasks/a/heartbeat_timeout", 'must be a number, is "3"'),
    (with_task(allow_failure=1), "/tasks/a/allow_failure", "must be true or false, is 1"),
    (with_task(allow_failure="true"), "/tasks/a/allow_failure", 'must be true or false, is "true"'),
    (with_task(priority=101), "/tasks/a/priority", "must be at most 100, is 101"),
    (with_task(priority=-101), "/tasks/a/priority", "must be at least -100, is -101"),
    (with_task(priority=False), "/tasks/a/priority", "must be an integer, is false"),
    (with_task(queue="a b"), "/tasks/a/queue", '"a b" cannot be a name here'),
    (with_run(name=""), "/name", "must not be empty"),
    (with_run(name="a\u001b[31m"), "/name", '"a\\u001b[31m" holds a control character'),
    (with_run(labels={"team": 5}), "/labels/team", "must be a string, is 5"),
    (with_run(labels={"a b": "x"}), "/labels/a b", '"a b" cannot be a name here'),
    (with_run(labels={"[key]": "x"}), "/labels/[key]", '"[key]" cannot be a name here'),
    (with_run(labels={"tasks": 5}), "/labels/tasks", "must be a string, is 5"),
    (with_run(labels={"x": "a\rb"}), "/labels/x", '"a\\rb" holds a control character'),
    (with_run(input=[]), "/input", "must be an object, is an array"),
    (with_run(priority=1.5), "/priority", "must be an integer, is 1.5"),
    (with_run(priority=None), "/priority", "must be an integer, is null"),
    (with_run(on_failure="halt"), "/on_failure", 'must be "continue" or "stop", is "halt"'),
    (with_run(retention=0), "/retention", "must be at least 1, is 0"),
    (with_run(steps=[{"type": "parallel", "tasks": ["task_a"]}]), "", "exactly one of steps and tasks must be given"),
]


@pytest.mark.parametrize(("document", "pointer", "message"), WRONG_VALUES, ids=lambda value: str(value)[:60])
def test_a_wrong_value_is_named_with_its_place(document: JsonValue, pointer: str, message: str) -> None:
    assert only_problem(document) == ("invalid-value", pointer, message)


TOO_LONG: list[tuple[JsonValue, str, str]] = [
    (with_run(name="x" * 257), "/name", "257 characters are more than the limit of 256"),
    (with_run(labels={f"k{n}": "v" for n in range(65)}), "/labels", "65 items are more than the limit of 64"),
    (with_task(retry={"on": list[JsonValue](["E"] * 65)}), "/tasks/a/retry/on", "65 items are more than the limit of 64"),
]


@pytest.mark.parametrize(("document", "pointer", "message"), TOO_LONG)
def test_what_is_too_long_is_named_with_its_limit(document: JsonValue, pointer: str, message: str) -> None:
    assert only_problem(document) == ("limit-exceeded", pointer, message)


UNKNOWN_FIELDS: list[tuple[JsonValue, str, str, str]] = [
    (with_run(lables={}), "/lables", '"lables" is not a field of the definition', 'did you mean "labels"?'),
    (with_task(retries=3), "/tasks/a/retries", '"retries" is not a field of a task', 'did you mean "retry"?'),
    (with_task(xyz=3), "/tasks/a/xyz", '"xyz" is not a field of a task', "leave it out"),
    (with_task(retry={"attempts": 3}), "/tasks/a/retry/attempts", '"attempts" is not a field of a retry', 'did you mean "max_attempts"?'),
    (with_task(retry={"wait": {"min": 3}}), "/tasks/a/retry/wait/min", '"min" is not a field of a wait', "leave it out"),
    (steps({"task": "task_a", "[key]": 1}), "/steps/0/tasks/0/[key]", '"[key]" is not a field of a task', "leave it out"),
    (with_run(**{"[key]": 1}), "/[key]", '"[key]" is not a field of the definition', "leave it out"),
    (
        {"steps": [{"type": "parallel", "tasks": ["task_a"], "task": ["task_b"]}]},
        "/steps/0/task",
        '"task" is not a field of a step',
        'did you mean "tasks"?',
    ),
    (
        steps({"type": "parallel", "tasks": ["task_a"], "typ": 1}),
        "/steps/0/tasks/0/typ",
        '"typ" is not a field of a step',
        'did you mean "type"?',
    ),
]


@pytest.mark.parametrize(("document", "pointer", "message", "remedy"), UNKNOWN_FIELDS)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(document: JsonValue, pointer: str, message: str, remedy: str) -> None:
    (problem,) = problems_of(document)
    assert (problem.code, problem.pointer, problem.message, problem.remedy) == ("unknown-field", pointer, message, remedy)


@pytest.mark.parametrize("field", ["fairness_key", "timeout", "start_at", "durability"])
def test_a_field_of_a_later_run_is_refused_as_not_available(field: str) -> None:
    assert only_problem(with_run(**{field: 1})) == ("not-available", f"/{field}", f'"{field}" is not available yet')


@pytest.mark.parametrize("field", ["when", "trigger_rule", "for_each", "max_parallel", "concurrency"])
def test_a_field_of_a_later_task_is_refused_as_not_available(field: str) -> None:
    in_dag, in_steps = with_task(**{field: 1}), steps({"task": "task_a", field: 1})
    assert only_problem(in_dag) == ("not-available", f"/tasks/a/{field}", f'"{field}" is not available yet')
    assert only_problem(in_steps) == ("not-available", f"/steps/0/tasks/0/{field}", f'"{field}" is not available yet')


@pytest.mark.parametrize(
    ("document", "pointer", "field"),
    [
        ({"tasks": {"a": {"args": {}}}}, "/tasks/a", "task"),
        (steps({}), "/steps/0/tasks/0", "task"),
        ({"steps": [{"tasks": ["task_a"]}]}, "/steps/0", "type"),
        (steps({"type": "parallel"}), "/steps/0/tasks/0", "tasks"),
    ],
)
def test_a_missing_field_is_named_at_the_object_that_lacks_it(document: JsonValue, pointer: str, field: str) -> None:
    assert only_problem(document) == ("missing-field", pointer, f'the field "{field}" is missing')


def test_two_missing_fields_of_one_object_are_two_problems() -> None:
    assert [problem.message for problem in problems_of({"steps": [{}]})] == ['the field "type" is missing', 'the field "tasks" is missing']


def test_branches_of_an_item_do_not_leak_into_pointers_however_deep_it_is() -> None:
    document = steps({"type": "parallel", "tasks": [{"type": "sequential", "tasks": ["task_a", {"task": "echo", "timeout": "1"}]}]})
    assert places_of(document) == {("invalid-value", "/steps/0/tasks/0/tasks/0/tasks/1/timeout")}


def test_both_forms_are_refused_beside_other_mistakes() -> None:
    document: JsonValue = {"steps": [{"type": "parallel", "tasks": ["task_a"]}], "tasks": {"a": {"task": "task_a"}}, "name": 5}
    assert places_of(document) == {("invalid-value", ""), ("invalid-value", "/name")}


def test_a_lone_surrogate_made_in_python_is_refused_in_words() -> None:
    code, pointer, message = only_problem(with_run(name="\ud800"))
    assert (code, pointer) == ("invalid-value", "/name")
    assert message.endswith('is "\\ud800"')
