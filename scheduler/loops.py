"""A pod's background loops: one TaskGroup owns them, and they end when they are told to."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable
from typing import Protocol

from engine.events import LoopFailed, Publisher

AGAIN_SECONDS = 1.0
"""Before a loop that failed is started again."""
CANCEL_SECONDS = 0.2
"""Before a loop that is still there is cancelled once more."""


class Loop(Protocol):
    """A background loop."""

    async def run(self) -> None: ...


class Loops:
    """Runs loops until `stop`."""

    def __init__(self, pod_id: str, publisher: Publisher) -> None:
        self._pod_id, self._publisher = pod_id, publisher
        self._owner: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, loops: Iterable[Loop]) -> None:
        self._owner = asyncio.create_task(self._run(list(loops)), name="peerflow-loops")

    async def stop(self) -> None:
        """Ends all loops, and returns once they have ended.

        A cancellation can be lost: before Python 3.12 `asyncio.wait_for` swallows one that meets its result. So they are cancelled again
        for as long as one is there.
        """
        if self._owner is None:
            return
        self._owner.cancel()
        pending = {self._owner, *self._tasks}
        while pending:
            _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
            for task in pending:
                task.cancel()

    async def _run(self, loops: list[Loop]) -> None:
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._keep_running(loop), name=type(loop).__name__) for loop in loops]

    async def _keep_running(self, loop: Loop) -> None:
        """Starts a loop again that raised what it should not have: one run that makes no sense must not stop a pod."""
        while True:
            try:
                await loop.run()
            except Exception as error:  # noqa: BLE001  # whatever it is, other runs' tasks go on
                trace = "".join(traceback.format_exception(error))
                self._publisher.publish(LoopFailed(pod_id=self._pod_id, loop=type(loop).__name__, error=repr(error), traceback=trace))
                await asyncio.sleep(AGAIN_SECONDS)
