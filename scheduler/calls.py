"""Calls a task function where blocking is allowed: in a thread of its own, or in a child process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.errors import EffectError
from engine.outcome import Failed, Outcome
from scheduler.context import TaskContext
from scheduler.failures import InvalidArguments, InvalidResult, failed, failed_in_user_code
from scheduler.registry import TaskFunction
from scheduler.results import outcome_of

if TYPE_CHECKING:
    from pydantic import JsonValue


NEVER_BETTER = (EffectError, InvalidResult)
"""What `ctx.once()` raises so that another attempt would raise it again."""


def raised(error: BaseException) -> Failed:
    """The failure of an attempt whose code raised `error`, SystemExit and KeyboardInterrupt included."""
    if isinstance(error, InvalidArguments):
        return failed(error, retryable=False)
    return failed_in_user_code(error, retryable=not isinstance(error, NEVER_BETTER))


def call_blocking(function: TaskFunction, args: Mapping[str, JsonValue], context: TaskContext, result_bytes: int) -> Outcome:
    """Runs the function to its end, and says how it ended. Never raises. Its context is current in this thread."""
    context.enter()
    try:
        value = function.call(args, context)
        if function.is_coroutine:
            value = asyncio.run(value)
        elif inspect.iscoroutine(value):
            value.close()
            return failed(InvalidResult("the function returned a coroutine; write it, or its decorator, as 'async def'"), retryable=False)
    except BaseException as error:  # noqa: BLE001  # sys.exit() in a task ends the task, not the pod
        return raised(error)
    return outcome_of(value, result_bytes)
