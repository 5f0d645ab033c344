"""Task functions and definitions for tests of simulated pods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from peerflow.testing.cluster import Cluster

MakeCluster = Callable[..., Cluster]


async def step(n: int = 0) -> int:
    """Ends at once, with its argument."""
    return n


async def slow() -> str:
    """Long enough to be met in the middle."""
    await asyncio.sleep(0.03)
    return "done"


class Hold:
    """A task function that says that it has started, and ends when it is told."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.finish = threading.Event()
        self.attempts: list[int] = []

    def function(self) -> Callable[..., Any]:
        async def held(ctx: Any) -> int:
            self.attempts.append(ctx.attempt)
            self.started.release()
            while not self.finish.is_set():  # noqa: ASYNC110  # told by another thread
                await asyncio.sleep(0.002)
            return len(self.attempts)

        return held

    def wait_until_started(self) -> None:
        assert self.started.acquire(timeout=10), "the task did not start"


def chain(length: int = 4) -> dict[str, Any]:
    """`step`, `step_2`, … one after the other, each with its number as the result."""
    return {"steps": [{"type": "sequential", "tasks": [{"task": "step", "args": {"n": n}} for n in range(length)]}]}


def fan(width: int = 4) -> dict[str, Any]:
    """1 → width → 1."""
    middle = {f"m{n}": {"task": "step", "args": {"n": n}, "depends_on": ["first"]} for n in range(width)}
    return {"tasks": {"first": {"task": "step"}, **middle, "last": {"task": "step", "depends_on": list(middle)}}}


def alone(function: str, **fields: Any) -> dict[str, Any]:
    """One task."""
    return {"tasks": {function: {"task": function, **fields}}}
