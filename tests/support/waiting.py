"""Waits for a fact instead of sleeping, and says what was waited for when it does not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, cast

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1
"""Pauses between two looks grow up to this, so that long waits do not load a small machine."""


def wait_until(predicate: Callable[[], T], description: str, timeout: float = 10.0) -> T:
    """The first true value of `predicate`, which is asked at least once; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE_SECONDS
    while not (value := predicate()):
        _refuse_after(deadline, description, timeout, value)
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return value


async def wait_until_async(predicate: Callable[[], Awaitable[T] | T], description: str, timeout: float = 10.0) -> T:
    """As `wait_until`, for a predicate that may be async, without blocking the event loop between two looks."""
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE_SECONDS
    while not (value := await _answer(predicate)):
        _refuse_after(deadline, description, timeout, value)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return value


async def _answer(predicate: Callable[[], Awaitable[T] | T]) -> T:
    answer = predicate()
    return cast(T, await answer) if isawaitable(answer) else cast(T, answer)


def _refuse_after(deadline: float, description: str, timeout: float, value: object) -> None:
    if time.monotonic() >= deadline:
        raise AssertionError(f"waited {timeout:g} s in vain: {description} (last answer: {value!r})")
