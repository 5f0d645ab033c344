"""The task function that stands for a program of a recorded workflow: `peerflow serve --tasks examples.wfformat_tasks`."""

from __future__ import annotations

import asyncio

from peerflow import task


@task
async def simulate(seconds: float = 0.0, program: str = "") -> dict[str, str | float]:
    """Takes as long as the recorded program took, scaled; returns what it stood for."""
    if seconds > 0:
        await asyncio.sleep(seconds)
    return {"program": program, "seconds": seconds}
