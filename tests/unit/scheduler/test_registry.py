"""Names are unique, signatures are checked when a function is registered, modules are loaded with all their problems at once."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from scheduler.context import TaskContext
from scheduler.registry import Registry, TaskFunction, default_registry, task


def refusal(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        TaskFunction(function, **options)
    return str(refused.value)


def test_the_decorator_registers_and_returns_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_registry, "_functions", {})

    def plain() -> int:
        """Says one."""
        return 1

    async def named() -> int:
        return 2

    assert task(plain) is plain
    assert task(name="other.name-1")(named) is named
    assert default_registry.names() == ["other.name-1", "plain"]
    registered = default_registry.get("plain")
    assert registered is not None
    assert (registered.kind, registered.description, registered.module) == ("thread", "Says one.", __name__)
    assert plain() == 1


def test_kinds_follow_the_function_and_the_executor() -> None:
    async def coroutine() -> None: ...

    def function() -> None: ...

    class Callee:
        async def __call__(self) -> None: ...

    assert TaskFunction(coroutine).kind == "async"
    assert TaskFunction(function).kind == "thread"
    assert TaskFunction(Callee(), name="callee").kind == "async"
    assert TaskFunction(functools.partial(coroutine), name="partial").kind == "async"
    assert TaskFunction(at_top_level, executor="process").kind == "process"
    assert TaskFunction(async_at_top_level, executor="process").kind == "process"


async def async_at_top_level() -> None: ...


def at_top_level() -> None: ...


def test_a_name_taken_by_another_function_is_refused_and_names_both() -> None:
    registry = Registry()

    def one() -> None: ...

    def other() -> None: ...

    registry.register(one, name="job")
    with pytest.raises(ConfigError, match=r"'job'.*one.*other.*@task\(name=") as refused:
        registry.register(other, name="job")
    assert len(refused.value.problems) == 1
    kept = registry.get("job")
    assert kept is not None
    assert kept.function is one


def test_a_function_registered_again_replaces_itself() -> None:
    registry = Registry()
    registry.register(at_top_level)
    registry.register(at_top_level)
    assert registry.names() == ["at_top_level"]
    assert len(registry) == 1
    assert "at_top_level" in registry


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 129, "a\n"])
def test_a_name_that_no_definition_could_use_is_refused(name: str) -> None:
    assert "1 to 128 letters" in refusal(at_top_level, name=name)


def test_parameters_that_cannot_be_passed_by_name_are_refused_with_the_remedy() -> None:
    def positional(value: int, /) -> None: ...

    def starred(*values: int) -> None: ...

    assert "remove the '/'" in refusal(positional)
    assert "parameter that takes a list" in refusal(starred)


def test_a_field_as_a_default_is_refused_with_the_remedy() -> None:
    from pydantic import Field

    def function(value: int = Field(default=1)) -> None: ...

    assert "Annotated[" in refusal(function)


def test_functions_that_yield_are_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    assert "return a list" in refusal(generator)
    assert "return a list" in refusal(async_generator)


def test_executors_that_do_not_fit_are_refused() -> None:
    async def coroutine() -> None: ...

    assert "'thread'" in refusal(coroutine, executor="thread")
    assert "'fibre'" in refusal(at_top_level, executor="fibre")
    assert "top level" in refusal(coroutine, executor="process")


def test_a_function_without_signature_is_refused() -> None:
    assert "written in Python" in refusal(type, name="builtin")


def test_all_problems_of_a_function_come_at_once() -> None:
    def function(value: int, /, *values: int) -> None: ...

    with pytest.raises(ConfigError) as refused:
        TaskFunction(function, name="not a name")
    assert len(refused.value.problems) == 3


def test_the_context_is_found_by_name_and_by_annotation() -> None:
    def by_name(ctx: object) -> None: ...

    def by_annotation(job: TaskContext) -> None: ...

    def optional(job: TaskContext | None = None) -> None: ...

    def real(job: object = None) -> None: ...

    real.__annotations__["job"] = TaskContext

    def without(job: int) -> None: ...

    assert TaskFunction(by_name).context_parameter == "ctx"
    assert TaskFunction(by_annotation).context_parameter == "job"
    assert TaskFunction(optional).context_parameter == "job"
    assert TaskFunction(real).context_parameter == "job"
    assert not TaskFunction(without).wants_ctx


def test_a_call_passes_arguments_and_context() -> None:
    async def work(count: int, ctx: TaskContext) -> list[object]:
        return [count, ctx.attempt]

    assert asyncio.run(TaskFunction(work).call({"count": 3}, TaskContext(attempt=2))) == [3, 2]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a module that only this test can import."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(default_registry, "_functions", {})
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text("from scheduler.registry import task\n" + text)
        return name

    return write


def test_modules_of_the_working_directory_are_loaded(modules: Callable[[str, str], str]) -> None:
    registry = Registry()
    registry.load_modules([modules("tasks_one", "@task\ndef one(): ...\n"), modules("tasks_two", "@task\ndef two(): ...\n")])
    assert registry.names() == default_registry.names() == ["one", "two"]


def test_all_modules_are_tried_and_all_their_problems_told_at_once(modules: Callable[[str, str], str]) -> None:
    names = [
        modules("tasks_raises", "raise RuntimeError('no database')\n"),
        modules("tasks_exits", "import sys\nsys.exit(3)\n"),
        modules("tasks_needs", "import not_installed_anywhere\n"),
        modules("tasks_refused", "@task\ndef starred(*values): ...\n"),
        modules("tasks_unknown_type", "@task\ndef typed(value: 'Missing'): ...\n"),
        "tasks_absent",
        modules("tasks_good", "@task\ndef good(): ...\n"),
    ]
    with pytest.raises(ConfigError) as refused:
        default_registry.load_modules(names)
    problems = refused.value.problems
    assert len(problems) == 6
    assert "RuntimeError: no database" in problems[0]
    assert "tasks_raises.py:2" in problems[0]
    assert "SystemExit: 3" in problems[1]
    assert "not_installed_anywhere" in problems[2]
    assert "*values" in problems[3]
    assert "'tasks_absent' is not found" in problems[4]
    assert "Missing" in problems[5]
    assert "good" in default_registry


def test_the_decorator_loads_neither_pydantic_nor_a_server() -> None:
    program = """
import sys
from scheduler.registry import task
from scheduler.context import TaskContext

@task
async def work(count: int, ctx: TaskContext): ...

print([name for name in ("pydantic", "redis", "fastapi", "tenacity") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
