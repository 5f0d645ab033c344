"""Repeating a storage call until the server answers: the only place where a call is sent again.

Whoever repeats a change passes the same operation id each time; the script then answers as it did first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, stop_never, wait_exponential, wait_random

from engine.errors import StorageRefused, StorageUnavailable

Result = TypeVar("Result")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 1.0
"""Soon enough that a pod works again within two seconds of Redis, slow enough that a fleet is no storm."""
WAIT = wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS) + wait_random(0, FIRST_WAIT_SECONDS)


async def until_answered(
    call: Callable[[], Awaitable[Result]],
    *,
    within_seconds: float | None = None,
    on_failure: Callable[[StorageUnavailable | StorageRefused], None] | None = None,
) -> Result:
    """Repeats `call` while the server is unavailable or refuses, with exponential backoff and jitter.

    Without `within_seconds` it never gives up; with it, the last error is raised once the time is over. `on_failure` hears each error.
    """

    try:
        # Nearly every call is answered: the machinery for repeating is only built for those that are not.
        return await call()
    except (StorageUnavailable, StorageRefused) as error:
        if on_failure:
            on_failure(error)

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_failure and isinstance(error, StorageUnavailable | StorageRefused):
            on_failure(error)

    async def once() -> Result:
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((StorageUnavailable, StorageRefused)),
        wait=WAIT,
        stop=stop_never if within_seconds is None else stop_after_delay(within_seconds),
        after=tell,
        reraise=True,
    )
    await asyncio.sleep(FIRST_WAIT_SECONDS)
    return await retrying(once)
