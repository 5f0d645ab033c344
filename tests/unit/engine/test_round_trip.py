"""Definitions survive the way through JSON: object → JSON → object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, ValidationError

from engine import strict_json
from engine.definition import RetryPolicy, Step, TaskSpec, WaitPolicy, WorkflowDefinition, parse_definition
from engine.errors import DefinitionError

names = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
seconds = st.floats(0.001, 60)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
arguments = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | texts | st.lists(st.integers()), max_size=3)
waits = st.builds(WaitPolicy, initial=seconds, multiplier=st.floats(1, 10), max=st.floats(60, 600), jitter=st.floats(0, 1))
retries = st.builds(RetryPolicy, max_attempts=st.integers(1, 9), wait=waits, on=st.lists(st.sampled_from(["OSError", "a.B", "Ünï"])))
common = {
    "task": names,
    "args": arguments,
    "retry": retries,
    "timeout": st.none() | seconds,
    "heartbeat_timeout": st.none() | seconds,
    "allow_failure": st.booleans(),
    "priority": st.none() | st.integers(-100, 100),
    "queue": names,
}
step_tasks = st.builds(TaskSpec, id=st.none() | names, **common)
dag_tasks = st.builds(TaskSpec, depends_on=st.lists(names, max_size=3), **common)
kinds = st.sampled_from(["sequential", "parallel"])
steps = st.recursive(
    st.builds(Step, type=kinds, tasks=st.lists(names | step_tasks, min_size=1, max_size=3)),
    lambda inner: st.builds(Step, type=kinds, tasks=st.lists(names | step_tasks | inner, min_size=1, max_size=3)),
    max_leaves=4,
)
run_fields = {
    "name": st.none() | texts,
    "input": arguments,
    "labels": st.dictionaries(names, texts, max_size=3),
    "priority": st.integers(-100, 100),
    "on_failure": st.sampled_from(["continue", "stop"]),
    "retention": st.none() | st.floats(1, 1e6),
}
definitions = st.builds(WorkflowDefinition, steps=st.lists(steps, min_size=1, max_size=2), **run_fields) | st.builds(
    WorkflowDefinition, tasks=st.dictionaries(names, dag_tasks, min_size=1, max_size=3), **run_fields
)


@given(definitions)
def test_a_definition_is_the_same_after_json(definition: WorkflowDefinition) -> None:
    short = definition.to_json()
    assert WorkflowDefinition.model_validate_json(short) == definition
    assert WorkflowDefinition.model_validate_json(definition.model_dump_json()) == definition
    assert parse_definition(strict_json.parse(short.encode())) == definition
    assert parse_definition(definition.model_dump(mode="json")) == definition


@pytest.mark.parametrize(
    "document",
    [
        {"steps": [{"type": "parallel", "tasks": ["task_a", {"task": "b", "id": "x"}, {"type": "sequential", "tasks": ["c"]}]}]},
        {"name": "etl", "tasks": {"a": {"task": "f", "args": {"x": 9007199254740993, "y": [], "z": {}}}}},
    ],
)
def test_a_document_is_the_same_after_a_definition(document: JsonValue) -> None:
    assert json.loads(parse_definition(document).to_json()) == document


def test_a_document_that_holds_no_definition_is_refused_on_its_own() -> None:
    with pytest.raises(DefinitionError, match="exactly one of steps and tasks"):
        parse_definition({})


@pytest.mark.parametrize("model", [WaitPolicy(), RetryPolicy(), TaskSpec(task="a"), Step(type="parallel", tasks=["a"])])
def test_models_are_frozen(model: BaseModel) -> None:
    field = next(iter(type(model).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model, field, None)


def test_a_definition_made_in_python_is_checked_as_strictly() -> None:
    with pytest.raises(ValidationError, match="exactly one of steps and tasks"):
        WorkflowDefinition()
    with pytest.raises(ValidationError, match="valid integer"):
        TaskSpec.model_validate({"task": "a", "priority": "1"})
    with pytest.raises(ValidationError, match="must be at least initial"):
        WaitPolicy(initial=2, max=1)


def test_the_schema_names_every_field_with_its_meaning() -> None:
    schema = WorkflowDefinition.model_json_schema()
    for name in ("WorkflowDefinition", "Step", "TaskSpec", "RetryPolicy", "WaitPolicy"):
        model = schema if name == "WorkflowDefinition" else schema["$defs"][name]
        assert model["additionalProperties"] is False
        assert set(model["properties"]) >= {"tasks"} or name not in {"WorkflowDefinition", "Step"}
    assert "Keyword arguments" in schema["$defs"]["TaskSpec"]["properties"]["args"]["description"]
