"""What a function may return, and what each other thing is refused for."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.outcome import Failed, Sleeping, Succeeded
from scheduler.results import DEPTH, outcome_of

LIMIT = 1000
LONGEST_UNCOUNTED = len(str(-(2**53)))
"""Numbers that fit any limit are not counted."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def refusal(value: object, limit: int = LIMIT) -> str:
    outcome = outcome_of(value, limit)
    assert isinstance(outcome, Failed), outcome
    assert not outcome.retryable
    return f"{outcome.error.type}: {outcome.error.message}"


@given(JSON.filter(lambda value: value is not False))
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    outcome = outcome_of(value, 10**6)
    assert isinstance(outcome, Succeeded)
    assert json.loads(outcome.result_json) == value


@given(JSON.filter(lambda value: value is not False))
def test_the_limit_counts_bytes_of_compact_json_and_allows_the_limit_itself(value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert isinstance(outcome_of(value, size), Succeeded)
    if size > LONGEST_UNCOUNTED:
        assert "ResultTooLarge" in refusal(value, size - 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "null"), (0, "0"), (-5, "-5"), (2**60, str(2**60)), ("é", '"é"'), ((1, 2), "[1,2]"), (1.5, "1.5")],
)
def test_small_values_are_compact_json(value: object, text: str) -> None:
    assert outcome_of(value, LIMIT) == Succeeded(text)


def test_false_fails_and_may_be_retried_and_zero_does_not_fail() -> None:
    outcome = outcome_of(False, LIMIT)
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.retryable) == ("ReturnedFalse", True)
    assert outcome_of(0, LIMIT) == Succeeded("0")
    assert outcome_of([False], LIMIT) == Succeeded("[false]")


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"bytes",
        {1, 2},
        dt.datetime.now(tz=dt.UTC),
        math.nan,
        [math.inf],
        {"x": {"y": b""}},
        "\ud800",
        ["\udfff"],
        print,
    ],
)
def test_what_is_not_json_is_refused(value: object) -> None:
    assert refusal(value).startswith("InvalidResult: the result is not JSON: ")


def test_keys_that_are_not_text_are_refused_and_not_converted() -> None:
    assert "key '1' of type int" in refusal({"a": {1: "x"}})
    assert "of type NoneType" in refusal({None: "x"})


def test_values_that_contain_themselves_are_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    refusal(ring)
    table: dict[str, object] = {}
    table["self"] = [table]
    refusal(table)


def test_nesting_up_to_the_limit_is_taken_and_beyond_it_refused() -> None:
    def nested(depth: int) -> object:
        value: object = 1
        for _ in range(depth):
            value = [value]
        return value

    assert isinstance(outcome_of(nested(DEPTH), LIMIT), Succeeded)
    assert "nested deeper than" in refusal(nested(DEPTH + 1))
    refusal(nested(10**5))


def test_numbers_too_long_to_print_are_refused() -> None:
    refusal(10 ** (sys.get_int_max_str_digits() + 1))


def test_huge_values_are_refused_without_being_encoded() -> None:
    shared: object = ["x" * 100]
    for _ in range(60):
        shared = [shared, shared]  # 2^60 texts, were it written out
    begin = time.monotonic()
    assert "ResultTooLarge" in refusal(shared, 256 * 1024)
    assert "ResultTooLarge" in refusal("x" * 10**7)
    assert "ResultTooLarge" in refusal([0] * 10**7)
    assert "ResultTooLarge" in refusal({str(number): None for number in range(10**5)})
    assert time.monotonic() - begin < 5


def test_a_value_whose_own_methods_raise_is_refused() -> None:
    class Broken(dict[str, object]):
        def values(self) -> Any:
            raise RuntimeError("broken")

    assert "broken" in refusal(Broken(a=1))


def test_the_refusal_of_a_large_result_says_how_large_and_what_to_do() -> None:
    text = refusal("é" * 600)
    assert "1202 bytes" in text
    assert "1000" in text
    assert "store it elsewhere" in text


def test_a_sleep_keeps_its_time_and_result() -> None:
    assert outcome_of(Sleeping(2, ' {"a": 1}'), LIMIT) == Sleeping(2.0, '{"a":1}')


@pytest.mark.parametrize(
    "value",
    [Sleeping(math.nan, "1"), Sleeping(-1, "1"), Sleeping(math.inf, "1"), Sleeping(1, "no json"), Sleeping(1, '"' + "x" * LIMIT + '"')],
)
def test_a_sleep_without_a_proper_time_or_result_is_refused(value: Sleeping) -> None:
    refusal(value)
