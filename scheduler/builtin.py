"""Task functions that every pod has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from engine.outcome import Sleeping
from scheduler.registry import Registry

MAX_SLEEP_SECONDS = 366 * 86_400


async def task_a() -> bool:
    """Prints `Running task A` and returns true."""
    print("Running task A")  # noqa: T201  # what the task is for
    return True


async def task_b() -> bool:
    """Prints `Running task B` and returns true."""
    print("Running task B")  # noqa: T201  # what the task is for
    return True


async def task_c() -> bool:
    """Prints `Running task C` and returns true."""
    print("Running task C")  # noqa: T201  # what the task is for
    return True


async def echo(value: JsonValue = None) -> JsonValue:
    """Returns `value`, any JSON, as its result; null without one."""
    return value


async def sleep(seconds: Annotated[float, Field(ge=0, le=MAX_SLEEP_SECONDS, description="How long, up to 366 days")]) -> Sleeping:
    """Waits `seconds` by Redis's clock and returns null. It holds no slot of any pod meanwhile, and survives all of them."""
    return Sleeping(seconds, "null")


def register_builtins(registry: Registry) -> None:
    """Adds them all under their own names."""
    for function in (task_a, task_b, task_c, echo, sleep):
        registry.register(function)
