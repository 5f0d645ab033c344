"""Task functions for pods that tests start, freeze and kill. Each notes its attempts in a file: Redis may forget, files do not."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from peerflow import TaskContext, task

FOLDER = Path(os.environ.get("PEERFLOW_TEST_HISTORY", "."))


def note(ctx: TaskContext, name: str = "attempts") -> None:
    """Appends one line; lines this short are written whole, also by several processes at once."""
    with (FOLDER / name).open("a") as history:
        history.write(f"{ctx.run_id} {ctx.task_id} {ctx.attempt} {ctx.fencing_token} {ctx.pod_id}\n")


@task
async def work(ctx: TaskContext, seconds: float = 0.02) -> int:
    note(ctx)
    await asyncio.sleep(seconds)
    return ctx.attempt


@task
async def noop() -> bool:
    return True


@task
def hold_first_attempt(ctx: TaskContext, gate: str) -> str:
    """The first attempt waits for the file `gate`; later ones return at once."""
    note(ctx)
    while ctx.attempt == 1 and not (FOLDER / gate).exists():
        time.sleep(0.02)
    return f"attempt {ctx.attempt}"


@task
async def block_the_loop(ctx: TaskContext, seconds: float) -> int:
    """What async code should not do."""
    note(ctx)
    time.sleep(seconds)  # noqa: ASYNC251  # on purpose
    return ctx.attempt


@task
def kill_the_pod(ctx: TaskContext) -> None:
    note(ctx)
    os._exit(9)


@task
async def fails_once(ctx: TaskContext) -> int:
    """Costs one of the user's own attempts, on purpose."""
    note(ctx)
    if ctx.attempt == 1:
        raise RuntimeError("the first attempt fails")
    return ctx.attempt


@task
async def hold_async(ctx: TaskContext, gate: str) -> str:
    """As `hold_first_attempt`, in the event loop; notes in the file `cancelled` that it was stopped."""
    note(ctx)
    try:
        while ctx.attempt == 1 and not (FOLDER / gate).exists():  # noqa: ASYNC110  # a file is a gate for other processes too
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(ctx, "cancelled")
        raise
    return f"attempt {ctx.attempt}"


@task
def hold(ctx: TaskContext, gate: str) -> str:
    """Every attempt waits for the file `gate`."""
    note(ctx)
    while not (FOLDER / gate).exists():
        time.sleep(0.02)
    return f"attempt {ctx.attempt}"
