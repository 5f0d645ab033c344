"""Task functions that write much, and one that leaves a process behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from peerflow import TaskContext, task


@task
async def talk(ctx: TaskContext) -> bool:
    """Lines longer than what a pipe takes in one piece, on both streams."""
    for _ in range(5):
        print("a" * 20_000)  # noqa: T201  # what is looked for
        ctx.log.warning("b" * 8_000)
        await asyncio.sleep(0.01)
    return True


@task
async def leave_an_orphan() -> int:
    """The process id of one that ends a little later, and whose parent has ended before."""
    leaving = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.5)']).pid)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", leaving, stdout=subprocess.PIPE)
    out, _ = await child.communicate()
    return int(out)
