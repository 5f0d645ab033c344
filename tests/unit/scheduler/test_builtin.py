"""The functions that every pod has."""

from __future__ import annotations

import pytest

from engine.outcome import Sleeping
from scheduler.builtin import register_builtins
from scheduler.registry import Registry
from tests.support.attempts import Workbench, an_attempt


def test_they_are_registered_only_when_asked_for() -> None:
    registry = Registry()
    assert registry.names() == []
    register_builtins(registry)
    register_builtins(registry)
    assert registry.names() == ["echo", "sleep", "task_a", "task_b", "task_c"]
    assert all(function.description for function in registry)


@pytest.mark.parametrize("letter", ["A", "B", "C"])
async def test_the_example_tasks_print_their_line_and_return_true(
    bench: Workbench, capsys: pytest.CaptureFixture[str], letter: str
) -> None:
    register_builtins(bench.registry)
    attempt = an_attempt(f"task_{letter.lower()}")
    bench.executor.start(attempt)
    assert await bench.result(attempt) == "true"
    assert capsys.readouterr().out == f"Running task {letter}\n"


async def test_echo_returns_any_json_as_it_came(bench: Workbench) -> None:
    register_builtins(bench.registry)
    attempt = an_attempt("echo", {"value": {"list": [1, "x", None, True, 1.5]}})
    bench.executor.start(attempt)
    assert await bench.result(attempt) == '{"list":[1,"x",null,true,1.5]}'


async def test_echo_without_a_value_returns_null(bench: Workbench) -> None:
    register_builtins(bench.registry)
    attempt = an_attempt("echo")
    bench.executor.start(attempt)
    assert await bench.result(attempt) == "null"


async def test_sleep_ends_at_once_as_sleeping(bench: Workbench) -> None:
    register_builtins(bench.registry)
    attempt = an_attempt("sleep", {"seconds": 3600})
    bench.executor.start(attempt)
    assert await bench.outcome(attempt) == Sleeping(3600.0, "null")


@pytest.mark.parametrize("seconds", [-1, 366 * 86_400 + 1, "5", None])
async def test_sleep_refuses_times_out_of_range(bench: Workbench, seconds: float | str | None) -> None:
    register_builtins(bench.registry)
    attempt = an_attempt("sleep", {"seconds": seconds})
    bench.executor.start(attempt)
    assert (await bench.failure(attempt)).error.type == "InvalidArguments"
