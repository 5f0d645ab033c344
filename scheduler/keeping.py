"""Effects of a pod's attempts, remembered in storage.

The code that asks may run in the event loop, in a thread, or (through its pipe) in a child process; the calls are made in the loop, one
for each announcement and one for each confirmation. A call that storage does not answer is repeated with the same operation id for as
long as the attempt lives.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import run_coroutine_threadsafe
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal, TypeVar, cast

from engine.errors import LeaseLost
from scheduler.context import TaskContext
from scheduler.effects import Begun, confirmed_already, full
from scheduler.holdings import Holdings
from storage.partition import Partition
from storage.repeat import until_answered

Answer = TypeVar("Answer")


class StoredEffects:
    """The keeper of a pod's attempts. `begin` and `confirm` may be called from any thread."""

    remote = True

    def __init__(self, holdings: Holdings, partitions: Sequence[Partition], *, result_bytes: int) -> None:
        """Needs a running loop."""
        self.result_bytes = result_bytes
        self._holdings, self._partitions = holdings, partitions
        self._loop = asyncio.get_running_loop()
        # A call outlives code that was cancelled while it waited for it: somebody must hold it.
        self._under_way: set[Future[Any]] = set()
        self._closed = False
        # Between a call's start and its entry in the set, the loop may have carried it out, and closed.
        self._lock = threading.Lock()

    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        return self._submit(context, self._begin(context, name, op, again=again))

    def confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> Future[None]:
        return self._submit(context, self._confirm(context, name, op, result_json))

    def close(self) -> None:
        """Whoever still waits gets LeaseLost, or is cancelled; whoever asks from now on gets LeaseLost."""
        with self._lock:
            self._closed = True
            waiting = list(self._under_way)
        for answer in waiting:
            answer.cancel()

    def _submit(self, context: TaskContext, call: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        with self._lock:
            if not self._closed:
                with suppress(RuntimeError):  # the loop is closed: the pod has ended
                    answer = run_coroutine_threadsafe(call, self._loop)
                    self._under_way.add(answer)
                    answer.add_done_callback(self._under_way.discard)
                    return answer
        call.close()
        raise LeaseLost(context.claim_id)

    async def _begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Begun:
        def call(partition: Partition, ref: str) -> Awaitable[tuple[str, str]]:
            if context.cancelled:
                raise LeaseLost(context.claim_id)
            return partition.begin_effect(op, ref, name, again=again)

        word, result_json = await self._repeated(context, call)
        if word == "FULL":
            raise full(name)
        if word in {"STALE", "TERMINAL"}:
            raise LeaseLost(context.claim_id)
        return Begun(cast("Literal['new', 'unknown', 'confirmed']", word), result_json)

    async def _confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> None:
        # Code whose time is over may say once that the effect has happened: the next attempt is glad to know.
        calls = 0

        def call(partition: Partition, ref: str) -> Awaitable[str]:
            nonlocal calls
            calls += 1
            if context.cancelled and calls > 1:
                raise LeaseLost(context.claim_id)
            return partition.confirm_effect(op, ref, name, result_json)

        word = await self._repeated(context, call)
        if word == "CONFIRMED":
            raise confirmed_already(name)
        if word != "OK":
            raise LeaseLost(context.claim_id)

    async def _repeated(self, context: TaskContext, call: Callable[[Partition, str], Awaitable[Answer]]) -> Answer:
        """Calls until storage answers, or the pod does not hold the claim any more."""

        def away(error: Exception) -> None:
            del error
            # Code that waits for storage cannot show that it moves: that is no fault of its own.
            held = self._holdings.get(context.claim_id)
            if held is not None and held.attempt is not None:
                held.attempt.excuse()

        async def once() -> Answer:
            held = self._holdings.get(context.claim_id)
            if held is None:
                raise LeaseLost(context.claim_id)
            return await call(self._partitions[held.partition], held.claim.ref)

        return await until_answered(once, on_failure=away)
