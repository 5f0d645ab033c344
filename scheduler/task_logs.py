"""What a pod's attempts print and log, on its way to storage.

Code in any thread puts lines into its attempt's buffer; a loop of the pod sends them about twice a second, and soon after the attempt has
ended. Nobody waits for it: neither the code nor the commit. While storage is away buffers keep the newest lines and count the rest. An
attempt that prints nothing has no buffer and costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import StorageRefused, StorageUnavailable
from scheduler.task_lines import STALE_SECONDS, Line, LineBuffer, cut
from storage.partition import Partition
from storage.task_logs import BATCHES_PER_CALL, BODY_BYTES, CALL_BYTES, Batch, LogCaps, body_of, encode_line

if TYPE_CHECKING:
    from scheduler.context import TaskContext

FLUSH_SECONDS: Final = 0.5
SOON_SECONDS: Final = 0.05
"""Between two rounds at least: attempts that end one after the other share a call."""
AGAIN_SECONDS: Final = 1.0
"""Before the next round where storage did not take the last one."""
CLOSE_SECONDS: Final = 2.0
"""How long a pod that stops waits for storage to take the last lines."""
POD_BYTES: Final = 32 * 1024 * 1024
LEAST_BYTES: Final = 64 * 1024
"""All buffers of a pod share POD_BYTES; each has this much at least."""


@dataclass(slots=True)
class _Book:
    """An attempt's lines that storage does not have yet."""

    context: TaskContext
    buffer: LineBuffer
    ended: bool = False
    sending: Batch | None = None
    """A batch that storage has not answered yet: sent again, it is the same one."""


class TaskLogs:
    """The `LineSink` of a pod, and the loop that sends what it got. `write`, `log` and `receive` may be called from any thread."""

    def __init__(self, partition_for: Callable[[str], Partition], pod_id: str, caps: LogCaps) -> None:
        """Needs a running loop. `partition_for` says where a run is."""
        self._partition_for, self._pod_id, self._caps = partition_for, pod_id, caps
        self._loop = asyncio.get_running_loop()
        # Taken again by code that the garbage collector runs in a thread that has it.
        self._lock = threading.RLock()
        self._books: dict[str, _Book] = {}
        """Claim id → what is there to be sent; without anything an attempt has no book."""
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._told = False

    @property
    def waiting(self) -> int:
        """Attempts whose lines are not all in storage."""
        return len(self._books)

    @property
    def held_bytes(self) -> int:
        """About what these lines take."""
        with self._lock:
            return sum(book.buffer.size for book in self._books.values())

    def write(self, context: TaskContext, stream: str, text: str) -> None:
        with self._lock:
            book = self._books.get(context.claim_id) or self._book(context)
            book.buffer.write(stream, text)

    def log(self, context: TaskContext, text: str, level: str, logger: str) -> None:
        self.receive(context, [Line(time.monotonic(), "log", text, level, logger)], 0)

    def receive(self, context: TaskContext, lines: Sequence[Line], dropped: int) -> None:
        """Whole lines, and how many were dropped before them."""
        with self._lock:
            buffer = self._book(context).buffer
            buffer.lost(dropped)
            for line in lines:
                buffer.add(line)

    def ended(self, claim_id: str) -> None:
        """The attempt's code has ended: what it printed is sent soon. In the loop's thread."""
        book = self._books.get(claim_id)
        if book is not None:
            book.ended = True
            self._hurry.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            self._told = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._hurry.wait()
            self._hurry.clear()
            if not await self.flush():
                await asyncio.sleep(AGAIN_SECONDS)
            if self._books:
                self._news.set()
            await asyncio.sleep(SOON_SECONDS)

    async def flush(self) -> bool:
        """Sends up to one batch of each attempt. False where storage did not take it: the same is sent with the next call."""
        try:
            for group in self._groups():
                run_id, batches = group[0].context.run_id, [book.sending for book in group if book.sending is not None]
                try:
                    # Words other than OK: there is no place for these lines, and there will be none.
                    await self._partition_for(run_id).append_log(run_id, self._pod_id, batches, self._caps)
                except (StorageUnavailable, StorageRefused):
                    return False
                except BaseException:
                    self._sent(group)  # what storage cannot take for another reason must not come again and again
                    raise
                self._sent(group)
        finally:
            self._clear_away()
        return True

    async def close(self) -> None:
        """Sends what is left, for at most CLOSE_SECONDS. The loop has ended."""
        for book in self._books.values():
            book.ended = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._books:
                    if not await self.flush():
                        await asyncio.sleep(SOON_SECONDS)

    def _book(self, context: TaskContext) -> _Book:
        book = self._books.get(context.claim_id)
        if book is None:
            size = min(self._caps.size, max(LEAST_BYTES, POD_BYTES // (len(self._books) + 1)))
            book = self._books[context.claim_id] = _Book(context, LineBuffer(self._caps.lines, size))
            if not self._told:
                self._told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: the pod has ended
                    self._loop.call_soon_threadsafe(self._news.set)
        return book

    def _groups(self) -> Iterator[list[_Book]]:
        """Books with batches for one call each. Batches are made just before their call: together they may be large."""
        by_run: dict[str, list[_Book]] = {}
        with self._lock:
            books = list(self._books.values())
        share = max(LEAST_BYTES, POD_BYTES // max(1, len(books)))
        for book in books:
            book.buffer.allow(min(self._caps.size, share))
            book.buffer.close_lines(older_than_seconds=0.0 if book.ended else STALE_SECONDS)
            by_run.setdefault(book.context.run_id, []).append(book)
        for of_run in by_run.values():
            group: list[_Book] = []
            size = 0
            for book in of_run:
                if book.sending is None:
                    book.sending = _batch(book)
                if book.sending is None:
                    continue
                group.append(book)
                size += len(book.sending.body)
                if len(group) == BATCHES_PER_CALL or size >= CALL_BYTES:
                    yield group
                    group, size = [], 0
            if group:
                yield group

    def _sent(self, group: Sequence[_Book]) -> None:
        for book in group:
            book.sending = None

    def _clear_away(self) -> None:
        with self._lock:
            for claim_id, book in list(self._books.items()):
                if book.sending is None and not book.buffer:
                    del self._books[claim_id]
                elif book.ended:
                    self._hurry.set()


def _batch(book: _Book) -> Batch | None:
    lines, dropped = book.buffer.take(BODY_BYTES)
    if not lines and not dropped:
        return None
    now = time.monotonic()
    rows = [encode_line(max(0, int((now - line.at) * 1000)), line.stream, cut(line.text), line.level, line.logger) for line in lines]
    return Batch(book.context.index, book.context.attempt, os.urandom(4).hex(), len(rows), dropped, body_of(rows))
