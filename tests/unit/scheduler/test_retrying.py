"""When a failed attempt is tried again, and when not."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.definition import RetryPolicy, WaitPolicy
from engine.errors import TaskTimedOut
from engine.outcome import Failed, TaskErrorInfo
from scheduler.failures import ReturnedFalse, failed
from scheduler.retrying import is_meant, next_delay_seconds

STEADY = WaitPolicy(initial=1, multiplier=2, max=60, jitter=0)
PROBLEM = failed(ValueError("no"))


def test_waits_grow_by_the_multiplier_up_to_the_maximum() -> None:
    retry = RetryPolicy(max_attempts=100, wait=STEADY)
    waits = [next_delay_seconds(retry, failures, PROBLEM) for failures in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_multiplier_of_one_waits_the_same_each_time() -> None:
    retry = RetryPolicy(max_attempts=10_000, wait=WaitPolicy(initial=3, multiplier=1, max=60, jitter=0))
    assert [next_delay_seconds(retry, failures, PROBLEM) for failures in (1, 2, 9_999)] == [3, 3, 3]


def test_the_greatest_policy_stays_at_its_maximum() -> None:
    retry = RetryPolicy(max_attempts=10_000, wait=WaitPolicy(initial=1, multiplier=1000, max=60, jitter=0))
    assert next_delay_seconds(retry, 9_999, PROBLEM) == 60


def test_after_the_last_attempt_there_is_none() -> None:
    retry = RetryPolicy(max_attempts=3, wait=STEADY)
    assert next_delay_seconds(retry, 2, PROBLEM) == 2
    assert next_delay_seconds(retry, 3, PROBLEM) is None
    assert next_delay_seconds(RetryPolicy(), 1, PROBLEM) is None


def test_what_cannot_end_better_is_not_tried_again() -> None:
    retry = RetryPolicy(max_attempts=3, wait=STEADY)
    assert next_delay_seconds(retry, 1, failed(ValueError("no"), retryable=False)) is None


@given(st.integers(1, 20), st.floats(0, 1), st.integers())
def test_jitter_makes_a_wait_longer_by_at_most_its_share_and_the_same_source_gives_the_same_wait(
    failures: int, jitter: float, seed: int
) -> None:
    retry = RetryPolicy(max_attempts=100, wait=WaitPolicy(initial=0.5, multiplier=2, max=60, jitter=jitter))
    base = min(0.5 * 2 ** (failures - 1), 60)
    first = next_delay_seconds(retry, failures, PROBLEM, source=random.Random(seed))
    assert first is not None
    assert base <= first <= base * (1 + jitter)
    assert first == next_delay_seconds(retry, failures, PROBLEM, source=random.Random(seed))


def test_jitter_spreads_tasks_that_have_reached_the_maximum() -> None:
    retry = RetryPolicy(max_attempts=100, wait=WaitPolicy(initial=1, multiplier=2, max=60, jitter=0.5))
    source = random.Random(1)
    waits = {next_delay_seconds(retry, 50, PROBLEM, source=source) for _ in range(20)}
    assert len(waits) == 20


def error() -> Failed:
    try:
        json.loads("{")
    except json.JSONDecodeError as problem:
        return failed(problem)
    raise AssertionError


@pytest.mark.parametrize(
    "name", ["JSONDecodeError", "json.decoder.JSONDecodeError", "decoder.JSONDecodeError", "ValueError", "builtins.ValueError", "Exception"]
)
def test_a_class_is_meant_by_its_name_and_by_those_of_its_bases_with_or_without_module(name: str) -> None:
    assert is_meant(RetryPolicy(on=["KeyError", name]), error())


@pytest.mark.parametrize("name", ["KeyError", "Error", "json.JSONDecodeErrors", "other.ValueError", "object"])
def test_other_classes_are_not_meant(name: str) -> None:
    assert not is_meant(RetryPolicy(on=[name]), error())


def test_timeouts_and_false_have_names_too() -> None:
    assert is_meant(RetryPolicy(on=["TaskTimedOut"]), failed(TaskTimedOut(3)))
    assert not is_meant(RetryPolicy(on=["ValueError"]), failed(TaskTimedOut(3)))
    assert is_meant(RetryPolicy(on=["ReturnedFalse"]), failed(ReturnedFalse()))


def test_without_class_names_the_type_decides() -> None:
    plain = Failed(TaskErrorInfo("ValueError", "no"))
    assert is_meant(RetryPolicy(on=["ValueError"]), plain)
    assert not is_meant(RetryPolicy(on=["Exception"]), plain)
