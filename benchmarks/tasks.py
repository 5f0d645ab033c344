"""The task function that pods run in measurements; `peerflow serve --tasks benchmarks.tasks`."""

from __future__ import annotations

from scheduler.registry import task


@task
async def noop() -> bool:
    """Does nothing, so that what is measured is the engine."""
    return True
