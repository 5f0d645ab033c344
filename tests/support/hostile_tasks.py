"""Task functions that do what user code should not, and does."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import warnings
from pathlib import Path

from peerflow import TaskContext, task
from tests.support.pod_tasks import FOLDER


def _is_over() -> bool:
    """The test has ended: what never ends must, since its process would otherwise outlive it."""
    return (FOLDER / "over").exists()


@task
async def raises() -> None:
    raise ValueError("not today")


@task
def returns_false() -> bool:
    return False


@task
def too_large() -> str:
    return "x" * 1_000_000


@task
def not_a_number() -> float:
    return float("nan")


@task
def cyclic() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@task
def no_json() -> object:
    return object()


@task
def exits() -> None:
    sys.exit(3)


@task
async def exits_async() -> None:
    sys.exit(3)


@task
def interrupts() -> None:
    raise KeyboardInterrupt


@task
async def interrupts_async() -> None:
    raise KeyboardInterrupt


@task
async def swallows_cancellation() -> None:
    while not _is_over():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


@task
def never_ends() -> None:
    while not _is_over():
        time.sleep(0.05)


@task
def forks() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        return "copy"
    return f"the copy ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


@task
def shouts(ctx: TaskContext, lines: int) -> int:
    for number in range(lines):
        ctx.log.info("line %d", number)
    return lines


@task
def eats_memory(ctx: TaskContext) -> int:
    """Until its container is killed for it, or 4 GB are gone."""
    with (FOLDER / "attempts").open("a") as history:
        history.write(f"{ctx.run_id} {ctx.task_id} {ctx.attempt} {ctx.fencing_token} {ctx.pod_id}\n")
    eaten = [bytearray(os.urandom(1 << 20)) * 16 for _ in range(256)]
    return len(eaten)


@task(executor="process")
def kills_its_process() -> None:
    os._exit(7)


@task(executor="process")
def never_ends_in_a_process(note: str) -> None:
    (FOLDER / note).write_text(str(os.getpid()))
    while Path("/").exists():
        time.sleep(0.05)
