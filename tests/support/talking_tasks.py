"""Task functions that print and log, for child processes and pods that import them from here."""

# What they are for.
# ruff: noqa: T201

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

from peerflow import TaskContext, task

LOG = logging.getLogger("shop.child")
STORM = 50_000
FOLDER = Path(os.environ.get("PEERFLOW_TEST_HISTORY", "."))


def talks(ctx: TaskContext) -> int:
    print("from the child")
    ctx.log.info("ctx.log")
    LOG.error("plain")
    print("on standard error", file=sys.stderr)
    print("no end", end="")
    return 1


def says_and_dies() -> None:
    print("last words")
    time.sleep(1.0)
    os._exit(3)


def storms() -> int:
    for number in range(STORM):
        print(f"line {number}")
    return 1


@task
async def speaks(ctx: TaskContext, words: str = "hello") -> int:
    print(words)
    ctx.log.warning("logged %s", words)
    await asyncio.sleep(0)
    return 1


@task
def speaks_and_waits(ctx: TaskContext, gate: str) -> int:
    """Says `here` and waits for the file `gate`."""
    print(f"here {ctx.attempt}")
    while not (FOLDER / gate).exists():
        time.sleep(0.02)
    LOG.info("there %d", ctx.attempt)
    return 1


@task
def storms_in_a_thread() -> int:
    return storms()


@task(executor="process")
def talks_in_a_child(ctx: TaskContext) -> int:
    return talks(ctx)
