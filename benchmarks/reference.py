"""The reference: the least that a durable task can cost with redis-py, on the same server and in the same minute.

One script call a task: check the last task's lease, drop it, store state and result, push what follows; then pop the next task, lease it
with `SET NX PX`, store its state. redis-py's asyncio client with hiredis under uvloop, as a pod has them. There is no workflow behind it:
no events, no fencing token, no retries, no repeat after a lost answer, no other pod. An engine that hands tasks over one by one
could not beat it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import cast

import redis.asyncio

from benchmarks.plain_redis import connect

SLOTS = 64
"""Calls under way at once where tasks do not depend on each other."""
LEASE_MS = 10_000

ADD = """
redis.call('HSET', KEYS[1] .. 'tasks', ARGV[1], 'ready')
redis.call('RPUSH', KEYS[1] .. 'queue', ARGV[1])
"""
STEP = """
local T, ended, claim, result, following, next_claim, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if ended ~= '' then
  if redis.call('GET', T .. 'lease:' .. ended) ~= claim then return 'STALE' end
  redis.call('DEL', T .. 'lease:' .. ended)
  redis.call('HSET', T .. 'tasks', ended, 'succeeded ' .. claim .. ' ' .. result)
  if following ~= '' then redis.call('RPUSH', T .. 'queue', following) end
end
local task = redis.call('LPOP', T .. 'queue')
if not task then return '' end
redis.call('SET', T .. 'lease:' .. task, next_claim, 'NX', 'PX', ttl)
redis.call('HSET', T .. 'tasks', task, 'running ' .. next_claim)
return task
"""


class Reference:
    """The loop, under a key prefix of its own, which is empty again afterwards."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._add = self._step = ""
        self._claims = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, prefix: str) -> AsyncGenerator[Reference]:
        reference = cls(connect(url, connections=SLOTS), prefix)
        reference._add = await reference._client.script_load(ADD)
        reference._step = await reference._client.script_load(STEP)
        try:
            yield reference
        finally:
            await reference._client.aclose()

    async def milliseconds_per_hop(self, tasks: int) -> float:
        """A chain: each call ends one task and gets its successor."""
        await self._eval(self._add, "0")
        started = time.perf_counter()
        done = await self._drain(chain_of=tasks)
        took = time.perf_counter() - started
        await self._forget(done, tasks)
        return took * 1000 / tasks

    async def tasks_per_second(self, tasks: int) -> float:
        """Independent tasks, SLOTS calls under way."""
        await self.fill(tasks)
        started = time.perf_counter()
        done = sum(await asyncio.gather(*(self._drain() for _ in range(SLOTS))))
        took = time.perf_counter() - started
        await self._forget(done, tasks)
        return tasks / took

    async def milliseconds_to_create(self, tasks: int) -> float:
        """Storing `tasks` ready tasks, one call each."""
        started = time.perf_counter()
        await self.fill(tasks)
        took = time.perf_counter() - started
        await self._forget(tasks, tasks)
        return took * 1000

    async def bytes_per_finished_task(self, tasks: int, result_bytes: int) -> float:
        """What the hash of finished tasks takes beyond their results."""
        await self.fill(tasks)
        done = sum(await asyncio.gather(*(self._drain() for _ in range(SLOTS))))
        size = cast("int", await self._client.memory_usage(self._prefix + "tasks", samples=0))  # pyright: ignore[reportUnknownMemberType]
        await self._forget(done, tasks)
        return size / tasks - result_bytes

    async def fill(self, tasks: int) -> None:
        numbers = iter(range(tasks))

        async def add() -> None:
            for number in numbers:
                await self._eval(self._add, str(number))

        await asyncio.gather(*(add() for _ in range(SLOTS)))

    async def _drain(self, chain_of: int = 0) -> int:
        """Runs tasks until none is left; answers how many. In a chain, each pushes the next number."""
        task, claim, done = "", "", 0
        while True:
            following = str(int(task) + 1) if chain_of and task and int(task) + 1 < chain_of else ""
            self._claims += 1
            next_claim = f"{self._claims:032x}"
            task, claim = await self._eval(self._step, task, claim, "true", following, next_claim, LEASE_MS), next_claim
            if task == "":
                return done
            done += 1

    async def _eval(self, sha: str, *args: str | int) -> str:
        return await cast("Awaitable[str]", self._client.evalsha(sha, 1, self._prefix, *args))

    async def _forget(self, done: int, expected: int) -> None:
        await self._client.delete(self._prefix + "tasks", self._prefix + "queue")
        if done != expected:
            raise RuntimeError(f"the reference ran {done} of {expected} tasks")
