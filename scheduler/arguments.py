"""A task function's keyword arguments: what they may be, checked before the call, described as a JSON schema."""

from __future__ import annotations

import difflib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NotRequired, Required, cast

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from engine.errors import ConfigError
from scheduler.failures import InvalidArguments

SHOWN_CHARS = 80
"""As much of a refused value as an error text shows."""

REST = "value"


class Arguments:
    """Turns JSON arguments into the Python values that a function's annotations ask for.

    Values are read as pydantic reads JSON in strict mode: an ISO 8601 string becomes a datetime, an object a model, an array a set where
    the annotation says so; `"3"` is no int. A model that sets its own `strict` keeps it. A parameter without annotation takes any JSON.
    """

    def __init__(self, owner: str, function: Callable[..., object], parameters: Iterable[inspect.Parameter]) -> None:
        """Builds the validators; ConfigError where an annotation cannot be resolved or has no JSON form."""
        self._owner = owner
        named = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        rest = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD]
        self._defaults = {parameter.name: parameter.default for parameter in named if parameter.default is not inspect.Parameter.empty}
        self._names = {parameter.name: None for parameter in named}
        """An ordered set."""
        try:
            hints = _resolve(function, [*named, *rest])
            self._named = _dictionary(
                {name: NotRequired[hints[name]] if name in self._defaults else Required[hints[name]] for name in self._names}
            )
            self._rest = _dictionary({REST: Required[hints[rest[0].name]]}) if rest else None
            """One further argument of `**kwargs`, under the name REST."""
        except Exception as error:
            remedy = "annotate parameters with types that pydantic can read, imported in the function's module"
            raise ConfigError([f"task function {owner!r}: {type(error).__name__}: {_first_line(error)}; {remedy}"]) from error

    def bind(self, args: Mapping[str, JsonValue]) -> dict[str, Any]:
        """The keyword arguments for the call; InvalidArguments lists everything that is wrong."""
        problems = [
            f"argument {name!r} is missing, the function needs it"
            for name in self._names
            if name not in args and name not in self._defaults
        ]
        known = {name: value for name, value in args.items() if name in self._names}
        kwargs = _validate(self._named, known, problems)
        for name, value in args.items():
            if name in self._names:
                continue
            if self._rest is None:
                problems.append(f"unknown argument {name!r}; {_hint(name, list(self._names))}")
            else:
                kwargs[name] = _validate(self._rest, {REST: value}, problems, name).get(REST)
        if problems:
            raise InvalidArguments(self._owner, problems)
        return kwargs

    def schema(self) -> dict[str, JsonValue]:
        """JSON schema of the arguments as one object."""
        schema: dict[str, Any] = self._named.json_schema()
        schema.pop("title", None)
        properties: dict[str, Any] = schema.setdefault("properties", {})
        for name, described in properties.items():
            described.pop("title", None)
            default = self._defaults.get(name, inspect.Parameter.empty)
            if default is not inspect.Parameter.empty:
                _describe_default(described, default)
        if self._rest is not None:
            rest = self._rest.json_schema()
            schema["additionalProperties"] = {name: value for name, value in rest["properties"][REST].items() if name != "title"}
            if "$defs" in rest:
                schema["$defs"] = {**rest["$defs"], **schema.get("$defs", {})}
        return schema


def _dictionary(fields: dict[str, Any]) -> TypeAdapter[dict[str, Any]]:
    """A TypedDict, and not a model: its fields may have any name, `schema` and `_private` included."""
    make = cast("Callable[[str, dict[str, Any]], Any]", TypedDict)
    return TypeAdapter(with_config(ConfigDict(extra="forbid", strict=True))(make("Arguments", fields)))


def _validate(
    adapter: TypeAdapter[dict[str, Any]], values: dict[str, JsonValue], problems: list[str], name: str | None = None
) -> dict[str, Any]:
    """The values as the adapter reads them; without those that it refuses, whose reasons are added to `problems`."""
    try:
        return adapter.validate_json(json.dumps(values))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            first, *inner = problem["loc"]
            if inner or problem["type"] != "missing":  # what is missing altogether is on the list already
                place = repr(name or first) + "".join(f"[{part!r}]" for part in inner)
                problems.append(f"argument {place}: {problem['msg']}, not {_shown(problem['input'])}")
        return {}


def _resolve(function: Callable[..., object], parameters: Iterable[inspect.Parameter]) -> dict[str, Any]:
    """Parameter name → type, with text annotations looked up where the function was written."""
    annotations = {
        parameter.name: Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation for parameter in parameters
    }
    holder = types.SimpleNamespace(__annotations__=annotations)
    written = inspect.unwrap(function)
    module_names = getattr(written, "__globals__", None) or getattr(type(written).__call__, "__globals__", {})
    return typing.get_type_hints(holder, globalns=module_names, include_extras=True)


def _describe_default(described: dict[str, Any], default: object) -> None:
    try:
        described.setdefault("default", to_jsonable_python(default))
    except PydanticSerializationError:
        return


def _hint(name: str, known: list[str]) -> str:
    if not known:
        return "the function takes no arguments"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"the function takes {', '.join(known)}"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
