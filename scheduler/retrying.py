"""When a failed task is tried again: tenacity's wait strategies, asked for one delay at a time.

tenacity's own loop is not used: between two attempts the task is a timer in storage, and any pod may make the next one.
"""

from __future__ import annotations

import random

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_base, wait_exponential

from engine.definition import RetryPolicy
from engine.outcome import Failed


class wait_jittered(wait_base):  # noqa: N801  # named as tenacity names its strategies, with which it combines
    """Another strategy's wait, made longer by a random share of itself: up to `jitter` (0 to 1) of it.

    A share, where tenacity's `wait_random` adds seconds: so many tasks that failed together come back apart, however long they wait. Added
    after the cap, for tasks whose waits have all reached it.
    """

    def __init__(self, wait: wait_base, jitter: float, source: random.Random) -> None:
        self.wait = wait
        self.jitter = jitter
        self.source = source

    def __call__(self, retry_state: RetryCallState) -> float:
        seconds = self.wait(retry_state)
        return seconds + seconds * self.jitter * self.source.random()


_SHARED = random.Random()


def next_delay_seconds(retry: RetryPolicy, failures: int, failed: Failed, *, source: random.Random = _SHARED) -> float | None:
    """Seconds from the `failures`-th failure (counted from 1; lost attempts are none) to the next attempt; None: there is none.

    The wait is `initial × multiplier^(failures - 1)`, at most `max`, and then longer by a random share between 0 and `jitter`.
    `source` gives that share; a seeded one makes it repeatable.
    """
    if failures >= retry.max_attempts or not failed.retryable or not is_meant(retry, failed):
        return None
    wait = retry.wait
    strategy = wait_jittered(wait_exponential(multiplier=wait.initial, exp_base=wait.multiplier, max=wait.max), wait.jitter, source)
    # Of all that a state has, these strategies read the number.
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return strategy(state)


def is_meant(retry: RetryPolicy, failed: Failed) -> bool:
    """True if `retry.on` is empty, or names the error's class or one of its bases: `ValueError`, `decoder.JSONDecodeError`, `tasks.Busy`.

    A name may leave out modules and outer classes from the left, never in the middle.
    """
    if not retry.on:
        return True
    classes = failed.mro or (failed.error.type,)
    return any(known == wanted or known.endswith(f".{wanted}") for wanted in retry.on for known in classes)
