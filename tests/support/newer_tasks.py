"""What a newer version of the tasks has besides: a pod without this module does not know the function."""

from __future__ import annotations

from peerflow import task


@task
async def newer() -> str:
    return "new"
