"""The task functions of a cluster: a user's modules and functions, and the history that their calls write."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from scheduler.builtin import register_builtins
from scheduler.context import TaskContext
from scheduler.registry import Registry, TaskFunction, default_registry

if TYPE_CHECKING:
    from pydantic import JsonValue

Tasks = Iterable[ModuleType | str | Callable[..., Any]]
"""Modules, or their names, whose `@task` functions are meant; and functions, with `@task` or without."""


class AttemptLog(Protocol):
    """What hears of attempts: `peerflow.testing.history.History` is one."""

    def attempt_started(self, *, run_id: str, task_id: str, attempt: int, fencing_token: int, pod_id: str) -> None: ...

    def attempt_ended(self, *, run_id: str, task_id: str, attempt: int, fencing_token: int, pod_id: str, outcome: str) -> None: ...


class Recorded(TaskFunction):
    """A task function that notes each of its calls. Functions that run in processes note nothing: they do not know the history."""

    __slots__ = ("_log",)

    def __init__(self, of: TaskFunction, log: Callable[[], AttemptLog]) -> None:
        super().__init__(of.function, name=of.name, executor="process" if of.kind == "process" else None)
        self._log = log

    def call(self, args: Mapping[str, JsonValue], context: TaskContext) -> Any:
        facts: dict[str, Any] = {
            "run_id": context.run_id,
            "task_id": context.task_id,
            "attempt": context.attempt,
            "fencing_token": context.fencing_token,
            "pod_id": context.pod_id,
        }
        log = self._log()
        log.attempt_started(**facts)
        ended = log.attempt_ended
        try:
            value = super().call(args, context)
        except BaseException:
            ended(**facts, outcome="failed")
            raise
        if asyncio.iscoroutine(value):
            return _awaited(value, log, facts)
        ended(**facts, outcome="failed" if value is False else "succeeded")
        return value


def registry_of(tasks: Tasks, log: Callable[[], AttemptLog]) -> Registry:
    """The built-in functions and those given. Raises ConfigError as a pod's start does."""
    found = Registry()
    register_builtins(found)
    given = list(tasks)
    modules = [task.__name__ if isinstance(task, ModuleType) else task for task in given if isinstance(task, ModuleType | str)]
    if modules:
        loaded = Registry()
        loaded.load_modules(modules)
        wanted = {module for name in modules for module in sys.modules if module == name or module.startswith(f"{name}.")}
        for function in loaded:
            if function.module in wanted:
                found.add(function)
    for function in given:
        if not isinstance(function, ModuleType | str):
            found.add(_registered(function))
    recorded = Registry()
    for function in found:
        function.prepare()
        recorded.add(Recorded(function, log))
    return recorded


def _registered(function: Callable[..., Any]) -> TaskFunction:
    """As `@task` registered it, under its name and executor; else under its own name."""
    return next((known for known in default_registry if known.function is function), None) or TaskFunction(function)


async def _awaited(coroutine: Coroutine[Any, Any, Any], log: AttemptLog, facts: dict[str, Any]) -> Any:
    try:
        value = await coroutine
    except BaseException:
        log.attempt_ended(**facts, outcome="failed")
        raise
    log.attempt_ended(**facts, outcome="failed" if value is False else "succeeded")
    return value
