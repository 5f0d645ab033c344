from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from engine.errors import DefinitionError, Problem
from engine.strict_json import dumps, parse


def problems_of(data: bytes, depth: int = 64) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as refused:
        parse(data, depth=depth)
    return refused.value.problems


def place_of(data: bytes) -> tuple[str, str]:
    (problem,) = problems_of(data)
    return problem.code, problem.pointer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(json_values)
def test_what_is_written_is_read_again(value: JsonValue) -> None:
    assert parse(dumps(value).encode()) == value


@given(st.binary() | st.text(alphabet='[]{}":,0123456789.eE-+ntruflsaNIy\\ud8 \n').map(str.encode))
def test_any_bytes_are_either_read_as_python_does_or_refused(data: bytes) -> None:
    try:
        value = parse(data)
    except DefinitionError:
        return
    assert value == json.loads(data)


def test_a_duplicate_key_is_refused_with_its_place() -> None:
    (problem,) = problems_of(b'{"tasks": {"a": 1, "b/c": {"x~": 1, "x~": 2}}}')
    assert (problem.code, problem.pointer) == ("duplicate-key", "/tasks/b~1c/x~0")


def test_everything_wrong_is_found_at_once_also_in_values_that_a_later_key_replaces() -> None:
    problems = problems_of(b'{"a": [NaN, {"b": 1, "b": -Infinity}], "a": [1e999], "c": Infinity}')
    assert {(problem.code, problem.pointer) for problem in problems} == {
        ("duplicate-key", "/a"),
        ("invalid-json", "/a/0"),
        ("duplicate-key", "/a/1/b"),
        ("invalid-json", "/a/1/b"),
        ("invalid-value", "/a/0"),
        ("invalid-json", "/c"),
    }


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(text: str) -> None:
    (problem,) = problems_of(f'{{"x": {text}}}'.encode())
    assert (problem.code, problem.pointer, problem.message) == ("invalid-json", "/x", f"{text} is not JSON")


@pytest.mark.parametrize("text", ["1e999", "-1e999"])
def test_numbers_that_would_become_infinite_are_refused(text: str) -> None:
    assert place_of(f"[0, {text}]".encode()) == ("invalid-value", "/1")


def test_numbers_keep_their_kind_and_value() -> None:
    value = parse(b"[9007199254740993, 1.0, -0.0, 1e-999]")
    assert value == [9007199254740993, 1.0, 0.0, 0.0]
    assert isinstance(value, list)
    assert isinstance(value[1], float)
    assert math.copysign(1, value[2] if isinstance(value[2], float) else 1) == -1


def test_an_integer_with_as_many_digits_as_python_converts_is_read() -> None:
    assert parse(b"9" * 4300) == int("9" * 4300)


def test_longer_integers_are_refused_beside_others_that_are_read() -> None:
    assert place_of(b"[12, -" + b"9" * 4301 + b", -" + b"9" * 4300 + b"]") == ("invalid-json", "/1")


@pytest.mark.parametrize("data", [b'["\\ud800"]', b'["x\\uDFFF\\ud800 y"]'])
def test_half_a_surrogate_pair_is_refused(data: bytes) -> None:
    assert place_of(data) == ("invalid-json", "/0")


def test_half_a_surrogate_pair_in_a_key_is_refused_at_its_object() -> None:
    assert place_of(b'{"a": {"\\ud800": 1}}') == ("invalid-json", "/a")


def test_whole_surrogate_pairs_are_characters() -> None:
    assert parse(b'{"\\ud83d\\ude00": "\\ud83d\\ude00"}') == {"😀": "😀"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b"[1] [2]",
        b"// x\n1",
        b'"a\nb"',
        b'"a\x00b"',
        b"\xef\xbb\xbf{}",
        b"01",
        b"+1",
        b"nan",
        '"é"'.encode("latin-1"),
        b'"\xed\xa0\x80"',
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(data: bytes) -> None:
    assert place_of(data) == ("invalid-json", "")


def test_a_syntax_error_names_line_and_column() -> None:
    (problem,) = problems_of(b'{\n  "a": 1,\n  b\n}')
    assert problem.message.startswith("line 3, column 3:")


def test_nesting_as_deep_as_the_limit_is_accepted() -> None:
    assert parse(b"[" * 64 + b"]" * 64)
    assert parse(b'{"a":' * 64 + b"1" + b"}" * 64)


@pytest.mark.parametrize("data", [b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 500 + b"]" * 500])
def test_nesting_deeper_than_the_limit_is_refused_where_it_becomes_too_deep(data: bytes) -> None:
    (problem,) = problems_of(data)
    assert problem.code == "limit-exceeded"
    assert problem.pointer.count("/") == 64
    assert "64" in problem.message


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'[{"a":'])
def test_a_million_levels_are_refused_quickly(unit: bytes) -> None:
    (problem,) = problems_of(unit * 1_000_000)
    assert (problem.code, problem.pointer) in {("limit-exceeded", ""), ("invalid-json", "")}


def test_a_bracket_in_a_text_is_not_nesting() -> None:
    assert parse(dumps(["[" * 1000]).encode()) == ["[" * 1000]
    assert dumps("[{" * 100) == '"' + "[{" * 100 + '"'


def test_a_document_of_mistakes_gets_an_answer_of_bounded_size() -> None:
    problems = problems_of(b"[" + b",".join([b"NaN"] * 10_000) + b"]")
    assert len(problems) == 101
    assert problems[-1].message == "only the first 100 problems are listed"


def test_more_arrays_and_objects_than_the_limit_are_refused() -> None:
    data = b'[{"a": [], "[{": "\\"[{{"}, "{[\\\\", {}]'
    assert parse(data, containers=4)
    with pytest.raises(DefinitionError, match="more arrays and objects than the limit of 3"):
        parse(data, containers=3)


def test_sixteen_megabytes_of_empty_arrays_are_refused_undecoded() -> None:
    (problem,) = problems_of(b"[" + b"[]," * 5_000_000 + b"[]]")
    assert (problem.code, problem.pointer) == ("limit-exceeded", "")


def test_half_a_surrogate_pair_in_a_path_does_not_reach_the_answer() -> None:
    problems = problems_of(b'{"\\ud800\xc3\xa9": NaN}')
    assert [problem.pointer for problem in problems] == ["", "/?é"]


def test_what_is_written_is_compact() -> None:
    assert dumps({"a": [1, "é", None]}) == '{"a":[1,"é",null]}'


def cyclic() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def deep(levels: int) -> object:
    value: object = {}
    for level in range(levels - 1):
        value = {"x": value} if level % 3 == 0 else (value,) if level % 3 == 1 else [1, value]
    return value


@pytest.mark.parametrize(
    "value", [math.nan, [math.inf], {"x": -math.inf}, "\ud800", {"\udfff": 1}, cyclic(), deep(65), deep(100_000)], ids=lambda _: "value"
)
def test_values_that_no_strict_reader_takes_are_not_written(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each value has a message of its own
        dumps(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", {(1, 2): 3}])
def test_values_that_are_not_json_are_not_written(value: object) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_values_as_deep_as_the_limit_are_written() -> None:
    assert parse(dumps(deep(64)).encode())
