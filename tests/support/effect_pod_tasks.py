"""Task functions with effects, for pods that tests kill and freeze. Each notes what it saw in a file, outside of Redis."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from peerflow import Effect, LeaseLost, TaskContext, task
from tests.support.waiting import wait_until, wait_until_async

FOLDER = Path(os.environ.get("PEERFLOW_TEST_HISTORY", "."))
Place = Literal["inside", "after"]


def note(ctx: TaskContext, what: str, *words: str) -> None:
    """Appends one line; lines this short are written whole, also by several processes at once."""
    with (FOLDER / "effects").open("a") as history:
        history.write(" ".join([ctx.task_id, str(ctx.attempt), what, *words]) + "\n")


def is_held(ctx: TaskContext) -> bool:
    """True for the first attempt of a task until its gate is open."""
    return ctx.attempt == 1 and not (FOLDER / f"gate-{ctx.task_id}").exists()


def charge(ctx: TaskContext, effect: Effect) -> None:
    note(ctx, "found", "confirmed" if effect.confirmed else "unknown" if effect.unknown else "new", effect.key)
    if not effect.confirmed:
        effect.result = f"payment {ctx.attempt}"


def pay_blocking(ctx: TaskContext, hold: Place) -> object:
    """Charges; its first attempt is held inside the block, or between block and end."""
    try:
        with ctx.once("charge") as effect:
            charge(ctx, effect)
            if hold == "inside":
                wait_until(lambda: not is_held(ctx), "the gate", 60)
    except LeaseLost:
        note(ctx, "lost")
        raise
    note(ctx, "left")
    if hold == "after":
        wait_until(lambda: not is_held(ctx), "the gate", 60)
    return effect.result


@task
def pay_in_thread(ctx: TaskContext, hold: Place) -> object:
    return pay_blocking(ctx, hold)


@task(executor="process")
def pay_in_process(ctx: TaskContext, hold: Place) -> object:
    return pay_blocking(ctx, hold)


@task
async def pay_in_loop(ctx: TaskContext, hold: Place) -> object:
    async with ctx.once("charge") as effect:
        charge(ctx, effect)
        if hold == "inside":
            await wait_until_async(lambda: not is_held(ctx), "the gate", 60)
    note(ctx, "left")
    if hold == "after":
        await wait_until_async(lambda: not is_held(ctx), "the gate", 60)
    return effect.result
