"""Task functions with effects on a file, for each kind of executor. A child process imports them from here."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from scheduler.context import TaskContext
from scheduler.effects import Effect

FOLDER_VARIABLE = "PEERFLOW_TEST_HISTORY"


def note(folder: str, name: str, *words: object) -> None:
    """Appends one line."""
    with (Path(folder) / name).open("a") as history:
        history.write(" ".join(map(str, words)) + "\n")


def lines(folder: Path, name: str) -> list[list[str]]:
    path = folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def charge(folder: str, ctx: TaskContext, effect: Effect) -> None:
    """Takes the money, unless that is known to have happened."""
    state = "confirmed" if effect.confirmed else "unknown" if effect.unknown else "new"
    note(folder, "seen", ctx.attempt, state, effect.key)
    if not effect.confirmed:
        note(folder, "charged", ctx.attempt, effect.key)
        effect.result = {"payment": f"p-{ctx.attempt}"}


def pays(folder: str, ctx: TaskContext, fail: str = "") -> object:
    """Charges once. The first attempt raises where `fail` says: `inside` the block, or `after` it."""
    with ctx.once("charge") as effect:
        charge(folder, ctx, effect)
        if fail == "inside" and ctx.attempt == 1:
            raise ConnectionError("cut")
    if fail == "after" and ctx.attempt == 1:
        raise ConnectionError("cut")
    return effect.result


async def pays_async(folder: str, ctx: TaskContext, fail: str = "") -> object:
    async with ctx.once("charge") as effect:
        charge(folder, ctx, effect)
        await asyncio.sleep(0)
        if fail == "inside" and ctx.attempt == 1:
            raise ConnectionError("cut")
    if fail == "after" and ctx.attempt == 1:
        raise ConnectionError("cut")
    return effect.result


def pays_or_asks(folder: str, ctx: TaskContext) -> None:
    """Does not charge where an earlier attempt may have."""
    with ctx.once("charge", on_unknown="fail") as effect:
        charge(folder, ctx, effect)
        raise ConnectionError("cut")


def keeps(size: int, ctx: TaskContext) -> None:
    with ctx.once("charge") as effect:
        effect.result = "x" * size


def waits_inside(folder: str, ctx: TaskContext) -> None:
    """Leaves the block once the file `go` is there, and notes how that ended."""
    try:
        with ctx.once("charge"):
            note(folder, "inside", os.getpid())
            while not (Path(folder) / "go").exists():
                time.sleep(0.01)
        note(folder, "left", "well")
    except Exception as error:
        note(folder, "left", type(error).__name__)
        raise
