"""Waits for messages to this pod: `ready` (there are tasks), `due` (slices to pass on), `stop <run id>` (that run has ended).

An idle pod costs one blocking read. Messages may be lost with a connection; so after each error, and after 30 s without any, the pod
looks for itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from engine.errors import StorageRefused, StorageUnavailable
from storage.partition import Partition
from storage.store import INBOX_SECONDS

WATCHDOG_SECONDS = INBOX_SECONDS + 5.0
"""A read that has not answered by then hangs on a connection that is gone."""


class Inbox:
    """One partition's messages to one pod."""

    def __init__(
        self, partition: Partition, pod_id: str, *, on_ready: Callable[[], None], on_due: Callable[[], None], on_stop: Callable[[str], None]
    ) -> None:
        self._partition, self._pod_id = partition, pod_id
        self._on_ready, self._on_due, self._on_stop = on_ready, on_due, on_stop

    async def run(self) -> None:
        while True:
            try:
                await self.run_once()
            except (StorageUnavailable, StorageRefused, TimeoutError):
                await asyncio.sleep(0.2 + 0.3 * random.random())
                self._on_ready()

    async def run_once(self) -> int:
        """Waits for messages and acts on them. Answers how many there were."""
        async with asyncio.timeout(WATCHDOG_SECONDS):
            # A read that is cancelled drops its connection: redis-py disconnects on anything but a whole reply.
            messages = await self._partition.wait_inbox(self._pod_id, INBOX_SECONDS)
        for message in messages:
            if message.startswith("stop "):
                self._on_stop(message.removeprefix("stop "))
        if any(message != "ready" for message in messages):
            # A run that has ended leaves ready tasks to sweep out.
            self._on_due()
        if not messages or "ready" in messages:
            self._on_ready()
        return len(messages)
