"""Who follows which run's log on this pod: one reader for each run, however many clients there are."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from engine.errors import RunNotFound, StorageError
from engine.states import RunState
from peerflow.api.problem import RequestRefused
from storage.log_reading import LogLook
from storage.store import Store
from storage.task_logs import Piece

MOST: Final = 100
"""Clients of one pod that follow; each is an open connection."""
LOOK_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 2.0
"""After a look that storage did not answer."""
LATE_SECONDS: Final = 2.0
"""A pod sends the last lines soon after the commit that has ended the run, and not with it."""
KEPT_PIECES: Final = 64
KEPT_CHARS: Final = 2 * 1024 * 1024


class Tail:
    """The newest pieces of a run's log, and a loop that looks for more while anybody follows."""

    def __init__(self, store: Store, run_id: str, after: int) -> None:
        self._store, self._run_id = store, run_id
        self._pieces: deque[Piece] = deque()
        self._chars = 0
        self._since = after
        """All pieces behind this place that have come are kept here."""
        self.last = after
        """Place of the newest piece."""
        self.state = RunState.RUNNING
        self._quiet_since = asyncio.get_running_loop().time()
        self.gone = False
        """The run does not exist any more."""
        self._moved = asyncio.Event()
        self.followers = 0
        self._task = asyncio.create_task(self._look_for_ever(), name="peerflow-log-tail")

    @property
    def over(self) -> bool:
        """The run has ended, and nothing more of its log is to be expected."""
        return self.gone or (self.state.terminal and asyncio.get_running_loop().time() - self._quiet_since >= LATE_SECONDS)

    def behind(self, place: int) -> list[Piece] | None:
        """The pieces behind this place; None where not all of them are kept here."""
        return None if place < self._since else [piece for piece in self._pieces if piece.place > place]

    async def wait(self, seconds: float) -> None:
        """Returns when there is something new, or after this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()

    def close(self) -> None:
        self._task.cancel()

    async def _look_for_ever(self) -> None:
        while not self.gone:
            try:
                self._take(await self._store.look_at_log(self._run_id, self.last))
            except RunNotFound:
                self.gone = True
            except StorageError:
                await asyncio.sleep(AGAIN_SECONDS)
            self._moved.set()
            self._moved = asyncio.Event()
            await asyncio.sleep(LOOK_SECONDS)

    def _take(self, look: LogLook) -> None:
        if look.pieces or look.state is not self.state:
            self._quiet_since = asyncio.get_running_loop().time()
        self.state, self.last = look.state, max(self.last, look.last)
        for piece in look.pieces:
            self._pieces.append(piece)
            self._chars += len(piece.body)
        while self._pieces and (len(self._pieces) > KEPT_PIECES or self._chars > KEPT_CHARS):
            dropped = self._pieces.popleft()
            self._chars -= len(dropped.body)
            self._since = dropped.place


class Followers:
    """All that follow on this pod."""

    def __init__(self, store: Store, most: int = MOST) -> None:
        self._store, self._most = store, most
        self._tails: dict[str, Tail] = {}
        self._count = 0
        self.closed = False
        """The pod is leaving: clients shall come back to another one."""

    def close(self) -> None:
        """Answers end, as soon as they have told what they have."""
        self.closed = True

    @contextmanager
    def place(self) -> Generator[None]:
        """Room for one more client. Raises RequestRefused (503) where there is none."""
        if self.closed or self._count >= self._most:
            raise RequestRefused(
                503,
                "busy",
                "the pod is leaving" if self.closed else f"{self._count} clients follow logs on this pod, and no more may",
                remedy="ask another pod, or read pages with after",
                headers={"Retry-After": "5"},
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextmanager
    def tail(self, run_id: str, after: int) -> Generator[Tail]:
        """The run's tail, shared by all who follow it; `after` is where the first of them begins."""
        tail = self._tails.get(run_id)
        if tail is None:
            tail = self._tails[run_id] = Tail(self._store, run_id, after)
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                tail.close()
                del self._tails[run_id]
