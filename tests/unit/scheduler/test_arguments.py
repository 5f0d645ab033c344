"""Arguments are read as pydantic reads JSON, and what is wrong with them is named, all at once."""

from __future__ import annotations

import datetime as dt
import enum
import pathlib
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, JsonValue

from engine.errors import ConfigError
from scheduler.context import TaskContext
from scheduler.failures import InvalidArguments
from scheduler.registry import TaskFunction


class Order(BaseModel):
    number: int
    due: dt.date


@dataclass
class Point:
    x: int
    y: int = 0


class Colour(enum.Enum):
    RED = "red"


def read(annotation: Any, value: JsonValue) -> object:
    def function(value: object) -> None: ...

    function.__annotations__["value"] = annotation
    return TaskFunction(function).bind({"value": value})["value"]


def problems_of(function: Any, args: dict[str, JsonValue]) -> tuple[str, ...]:
    with pytest.raises(InvalidArguments) as refused:
        TaskFunction(function).bind(args)
    return refused.value.problems


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (dt.datetime, "2026-01-02T03:04:05Z", dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
        (dt.timedelta, "PT1M", dt.timedelta(minutes=1)),
        (Order, {"number": 1, "due": "2026-01-02"}, Order(number=1, due=dt.date(2026, 1, 2))),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Colour, "red", Colour.RED),
        (pathlib.Path, "/tmp/x", pathlib.Path("/tmp/x")),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678123456781234567812345678")),
        (set[int], [1, 2, 2], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (float, 3, 3.0),
        (bytes, "ab", b"ab"),
        (Any, {"any": ["thing", None]}, {"any": ["thing", None]}),
        (int | None, None, None),
        (int, 2**70, 2**70),
    ],
)
def test_json_becomes_what_the_annotation_asks_for(annotation: Any, value: JsonValue, expected: object) -> None:
    assert read(annotation, value) == expected


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "3"),
        (int, True),
        (int, 1.5),
        (str, 3),
        (bool, 1),
        (bool, "yes"),
        (float, "1.5"),
        (Literal["a"], "b"),
        (Annotated[int, Field(ge=1)], 0),
    ],
)
def test_json_of_another_type_is_refused_and_not_converted(annotation: Any, value: JsonValue) -> None:
    with pytest.raises(InvalidArguments, match="argument 'value': "):
        read(annotation, value)


def test_a_missing_argument_is_named() -> None:
    def function(day: str, hour: int = 0) -> None: ...

    assert problems_of(function, {}) == ("argument 'day' is missing, the function needs it",)


def test_an_unknown_argument_is_named_with_the_nearest_known_one() -> None:
    def function(day: str = "") -> None: ...

    assert problems_of(function, {"dya": "x"}) == ("unknown argument 'dya'; did you mean 'day'?",)


def test_an_unknown_argument_unlike_all_known_ones_gets_their_list() -> None:
    def function(day: str = "", hour: int = 0) -> None: ...

    assert problems_of(function, {"q": 1}) == ("unknown argument 'q'; the function takes day, hour",)


def test_an_argument_to_a_function_without_parameters_is_refused() -> None:
    def function(ctx: TaskContext) -> None: ...

    assert problems_of(function, {"q": 1}) == ("unknown argument 'q'; the function takes no arguments",)
    assert problems_of(function, {"ctx": {}}) == ("unknown argument 'ctx'; the function takes no arguments",)


def test_everything_wrong_is_listed_at_once_with_places_and_values() -> None:
    def function(day: str, order: Order, count: int = 0) -> None: ...

    problems = problems_of(function, {"order": {"number": [1], "due": "2026-01-02"}, "count": "x" * 200, "extra": None})
    assert len(problems) == 4
    assert problems[0].startswith("argument 'day' is missing")
    assert any(problem.startswith("argument 'order'['number']: ") and problem.endswith("not [1]") for problem in problems)
    assert any(problem.startswith("argument 'count': ") and problem.endswith("x…") and len(problem) < 200 for problem in problems)
    assert any("'extra'" in problem for problem in problems)


def test_defaults_are_the_function_s_own_objects() -> None:
    def function(values: list[int] = []) -> None: ...  # noqa: B006  # the point of the test

    assert TaskFunction(function).bind({}) == {}


def test_parameters_may_have_any_name() -> None:
    def function(_private: int, schema: int, model_config: int, self: int) -> None: ...

    args: dict[str, JsonValue] = {"_private": 1, "schema": 2, "model_config": 3, "self": 4}
    assert TaskFunction(function).bind(args) == args


def test_further_keyword_arguments_are_taken_and_checked_one_by_one() -> None:
    def function(first: int, **rest: dt.date) -> None: ...

    bound = TaskFunction(function).bind({"first": 1, "second": "2026-01-02"})
    assert bound == {"first": 1, "second": dt.date(2026, 1, 2)}
    [problem] = problems_of(function, {"first": 1, "second": 5, "third": "2026-01-02"})
    assert problem.startswith("argument 'second': ")


def test_parameters_without_annotation_take_any_json() -> None:
    def function(value: int, **rest: int) -> None: ...

    function.__annotations__.clear()
    args: dict[str, JsonValue] = {"value": [1, {"a": None}], "more": "x"}
    assert TaskFunction(function).bind(args) == args


def test_the_schema_shows_types_defaults_and_what_is_required_without_the_context() -> None:
    def function(ctx: TaskContext, count: Annotated[int, Field(ge=1, description="how many")], point: Point, name: str = "x") -> None: ...

    schema = TaskFunction(function).parameters
    assert schema["type"] == "object"
    assert schema["required"] == ["count", "point"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "count": {"type": "integer", "minimum": 1, "description": "how many"},
        "point": {"$ref": "#/$defs/Point"},
        "name": {"type": "string", "default": "x"},
    }


def test_the_schema_allows_what_keyword_arguments_take() -> None:
    def function(**rest: int) -> None: ...

    assert TaskFunction(function).parameters == {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}


def test_an_annotation_that_does_not_exist_is_a_configuration_error() -> None:
    def function(value: object) -> None: ...

    function.__annotations__["value"] = "Missing"
    with pytest.raises(ConfigError, match=r"'function'.*Missing"):
        TaskFunction(function).prepare()


def test_an_annotation_without_json_form_is_a_configuration_error() -> None:
    class Opaque: ...

    def function(value: object) -> None: ...

    function.__annotations__["value"] = Opaque
    with pytest.raises(ConfigError, match="Opaque"):
        TaskFunction(function).prepare()
