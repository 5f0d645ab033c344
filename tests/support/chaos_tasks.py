"""Task functions of the campaign. Each notes in the shared history that it starts, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from peerflow import TaskContext, task
from peerflow.testing.history import History

HISTORY = History(Path(os.environ.get("PEERFLOW_TEST_HISTORY", ".")) / "history.jsonl")


@contextmanager
def noted(ctx: TaskContext) -> Generator[None]:
    """Around all that a task does; an attempt that is cancelled or killed has no end."""
    start = functools.partial(HISTORY.attempt_started, run_id=ctx.run_id, task_id=ctx.task_id, attempt=ctx.attempt)
    end = functools.partial(HISTORY.attempt_ended, run_id=ctx.run_id, task_id=ctx.task_id, attempt=ctx.attempt)
    start(fencing_token=ctx.fencing_token, pod_id=ctx.pod_id)
    try:
        yield
    except Exception:
        end(fencing_token=ctx.fencing_token, pod_id=ctx.pod_id, outcome="failed")
        raise
    end(fencing_token=ctx.fencing_token, pod_id=ctx.pod_id, outcome="succeeded")


@task
async def light(ctx: TaskContext, seconds: float = 0.02) -> str:
    with noted(ctx):
        await asyncio.sleep(seconds)
    return f"attempt {ctx.attempt}"


@task
def heavy(ctx: TaskContext, seconds: float = 0.2) -> str:
    """Blocks a thread."""
    with noted(ctx):
        time.sleep(seconds)
    return f"attempt {ctx.attempt}"


@task
async def flaky(ctx: TaskContext, failures: int = 1) -> str:
    """Fails that many times, by its own count of attempts."""
    with noted(ctx):
        if ctx.attempt <= failures:
            raise ConnectionError(f"attempt {ctx.attempt} fails")
    return f"attempt {ctx.attempt}"


@task
async def held(ctx: TaskContext) -> str:
    """Waits until the folder has the file `open`, up to a minute: under way whenever a pod is killed."""
    with noted(ctx):
        deadline = time.monotonic() + 60
        gate = Path(os.environ["PEERFLOW_TEST_HISTORY"]) / "open"
        while not gate.exists() and time.monotonic() < deadline:  # noqa: ASYNC110  # a file is a gate for other processes too
            await asyncio.sleep(0.05)
    return f"attempt {ctx.attempt}"
