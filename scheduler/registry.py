"""Task functions by name: the decorator that registers them, and what the pod knows about each."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from engine.errors import ConfigError
from engine.limits import ID_PATTERN
from scheduler.context import TaskContext

if TYPE_CHECKING:
    from pydantic import JsonValue

    from scheduler.arguments import Arguments

Kind = Literal["async", "thread", "process"]
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])

NAME = re.compile(ID_PATTERN)


class TaskFunction:
    """One registered function: how it is called, what it takes, where it comes from."""

    __slots__ = (
        "_arguments",
        "_parameters",
        "_required",
        "context_parameter",
        "description",
        "function",
        "is_coroutine",
        "kind",
        "module",
        "name",
        "qualname",
    )

    def __init__(self, function: Callable[..., Any], *, name: str | None = None, executor: str | None = None) -> None:
        """Checks all that needs no annotation; ConfigError lists everything wrong. Annotations are resolved at first use: see `prepare`."""
        self.function = function
        self.module: str = getattr(function, "__module__", None) or type(function).__module__
        self.qualname: str = getattr(function, "__qualname__", None) or type(function).__qualname__
        self.name = name if name is not None else getattr(function, "__name__", type(function).__name__)
        self.description = inspect.getdoc(function) or ""
        self.is_coroutine = _is_coroutine(function)
        """True where a call gives something to await; a child process awaits it in a loop of its own."""
        self.kind: Kind = "process" if executor == "process" else "async" if self.is_coroutine else "thread"
        problems = [*_name_problems(self.name), *_executor_problems(self, executor)]
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as error:
            raise ConfigError([f"task function {self.name!r}: {error}; register a function written in Python"]) from None
        self.context_parameter = next((parameter.name for parameter in parameters if _is_context(parameter)), None)
        """The parameter that receives the TaskContext, None where there is none."""
        self._parameters = [parameter for parameter in parameters if parameter.name != self.context_parameter]
        problems += [f"task function {self.name!r}: {problem}" for parameter in parameters for problem in _parameter_problems(parameter)]
        if problems:
            raise ConfigError(problems)
        self._required = any(
            parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            for parameter in self._parameters
        )
        self._arguments: Arguments | None = None

    @property
    def wants_ctx(self) -> bool:
        return self.context_parameter is not None

    @property
    def parameters(self) -> dict[str, JsonValue]:
        """JSON schema of the keyword arguments, without the context."""
        return self.prepare().schema()

    def prepare(self) -> Arguments:
        """Resolves the annotations, once; ConfigError where that fails."""
        if self._arguments is None:
            # Not at the top: pydantic's schemas are built for the functions that are called, not for every import of this module.
            from scheduler.arguments import Arguments  # noqa: PLC0415

            self._arguments = Arguments(self.name, self.function, self._parameters)
        return self._arguments

    def bind(self, args: Mapping[str, JsonValue]) -> dict[str, Any]:
        """Keyword arguments as the function's annotations want them; raises InvalidArguments, which names each wrong argument."""
        if not args and not self._required:
            return {}
        return self.prepare().bind(args)

    def call(self, args: Mapping[str, JsonValue], context: TaskContext) -> Any:
        """Calls the function with checked arguments, and with the context if it wants it; returns what it returns."""
        kwargs = self.bind(args)
        if self.context_parameter is not None:
            kwargs[self.context_parameter] = context
        return self.function(**kwargs)

    def is_same_as(self, other: TaskFunction) -> bool:
        """True for the function itself, and for its next version after its module was loaded anew."""
        if self.function is other.function:
            return True
        return (self.module, self.qualname, self.kind) == (other.module, other.qualname, other.kind) and "<locals>" not in self.qualname

    def __repr__(self) -> str:
        return f"<TaskFunction {self.name} ({self.kind}) {self.module}.{self.qualname}>"


class Registry:
    """The task functions that a pod can run. Names are unique."""

    def __init__(self) -> None:
        self._functions: dict[str, TaskFunction] = {}

    def register(self, function: Callable[..., Any], *, name: str | None = None, executor: str | None = None) -> TaskFunction:
        """Makes a task function and adds it."""
        added = TaskFunction(function, name=name, executor=executor)
        self.add(added)
        return added

    def add(self, function: TaskFunction) -> None:
        """Adds it; ConfigError where its name belongs to another function."""
        known = self._functions.get(function.name)
        if known is not None and not known.is_same_as(function):
            both = f"{known.module}.{known.qualname} and {function.module}.{function.qualname}"
            raise ConfigError([f"task function {function.name!r} is registered twice: {both}; name one of them with @task(name=...)"])
        self._functions[function.name] = function

    def get(self, name: str) -> TaskFunction | None:
        return self._functions.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._functions)

    def load_modules(self, modules: Iterable[str]) -> None:
        """Imports the modules, whose `@task` functions register themselves, and prepares all functions.

        The working directory is importable, as with `python -m`. What went into `default_registry` is then in this registry too.
        ConfigError lists every module that cannot be imported and every function whose annotations cannot be used.
        """
        here = os.getcwd()  # noqa: PTH109  # sys.path holds text
        if here not in sys.path and "" not in sys.path:
            sys.path.insert(0, here)
        problems: list[str] = []
        for module in modules:
            problems += _import_problems(module)
        if self is not default_registry:
            problems += _problems_of(self.add, default_registry)
        problems += _problems_of(TaskFunction.prepare, self)
        if problems:
            raise ConfigError(problems)

    def __iter__(self) -> Iterator[TaskFunction]:
        return iter([self._functions[name] for name in self.names()])

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __len__(self) -> int:
        return len(self._functions)


default_registry = Registry()
"""Where `@task` registers."""


@overload
def task(function: AnyFunction, /) -> AnyFunction: ...
@overload
def task(*, name: str | None = None, executor: Literal["thread", "process"] | None = None) -> Callable[[AnyFunction], AnyFunction]: ...
def task(
    function: AnyFunction | None = None, /, *, name: str | None = None, executor: Literal["thread", "process"] | None = None
) -> AnyFunction | Callable[[AnyFunction], AnyFunction]:
    """Registers a function under its own name, or `name`, and returns it unchanged.

    `async def` functions run in the pod's event loop, others in a thread; `executor="process"` runs either in a child process, where
    it may use a whole CPU, and from where it can be killed.
    """

    def register(function: AnyFunction) -> AnyFunction:
        default_registry.register(function, name=name, executor=executor)
        return function

    return register if function is None else register(function)


def _is_coroutine(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name_problems(name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"task function {name!r}: a name has 1 to 128 letters, digits and '_', '.', '-'; set it with @task(name=...)"


def _executor_problems(function: TaskFunction, executor: str | None) -> Iterator[str]:
    subject = f"task function {function.name!r}"
    if executor not in (None, "thread", "process"):
        yield f"{subject}: executor={executor!r} is unknown; use 'thread', 'process', or leave it out"
    if executor == "thread" and function.kind == "async":
        yield f"{subject}: executor='thread' is for functions that are not async; leave it out, or write 'def' instead of 'async def'"
    if executor == "process" and ("<locals>" in function.qualname or function.module == "__main__"):
        yield f"{subject}: executor='process' needs a function at the top level of an importable module; move it there"
    if inspect.isgeneratorfunction(function.function) or inspect.isasyncgenfunction(function.function):
        yield f"{subject}: it yields, and a task returns one value; return a list"


def _parameter_problems(parameter: inspect.Parameter) -> Iterator[str]:
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        yield f"parameter {parameter.name!r} is positional-only, and arguments are passed by name; remove the '/'"
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        yield f"'*{parameter.name}' cannot be filled, arguments are passed by name; use a parameter that takes a list"
    # By name, so that pydantic need not be loaded to register a function.
    if type(parameter.default).__module__ == "pydantic.fields":
        yield f"parameter {parameter.name!r} has Field(...) as its default; write Annotated[<type>, Field(...)] and a plain default"


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
        return False
    if isinstance(annotation, str):
        return parameter.name == "ctx" or re.search(r"\bTaskContext\b", annotation) is not None
    return parameter.name == "ctx" or annotation is TaskContext or TaskContext in get_args(annotation)


def _import_problems(module: str) -> Iterator[str]:
    try:
        importlib.import_module(module)
    except ConfigError as error:
        yield from error.problems
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a module of tasks may raise anything while it is imported
        missing = isinstance(error, ModuleNotFoundError) and error.name is not None and (module + ".").startswith(error.name + ".")
        if missing:
            yield f"tasks module {module!r} is not found; name a module that Python can import from {os.getcwd()} or an installed package"  # noqa: PTH109
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            yield f"tasks module {module!r} cannot be imported: {type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def _problems_of(step: Callable[[TaskFunction], object], functions: Iterable[TaskFunction]) -> Iterator[str]:
    for function in functions:
        try:
            step(function)
        except ConfigError as error:
            yield from error.problems
