"""What script calls cost the server: processor time of its main thread, which other work on the machine does not change much."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import statistics
from typing import Any, cast

import pytest
import redis

from storage.scripts import Answer, Argument, call, call_blocking


class Meter:
    """Notes the cost of every script call of this process while it is in place."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self._client = client
        self.costs: dict[str, list[float]] = {}
        """Script → ms of each call."""
        self._own = statistics.median(-self._used_ms() + self._used_ms() for _ in range(50))
        monkeypatch.setattr("storage.partition.call", self._call)
        monkeypatch.setattr("storage.store.call", self._call)
        monkeypatch.setattr("storage.tokens.call", self._call)
        monkeypatch.setattr("storage.heartbeats.call_blocking", self._call_blocking)

    async def _call(self, client: Any, name: str, prefix: str, *args: Argument) -> Answer:
        before = self._used_ms()
        answer = await call(client, name, prefix, *args)
        self._note(name, before)
        return answer

    def _call_blocking(self, client: Any, name: str, prefix: str, *args: Argument) -> Answer:
        before = self._used_ms()
        answer = call_blocking(client, name, prefix, *args)
        self._note(name, before)
        return answer

    def _used_ms(self) -> float:
        facts = cast("dict[str, float]", self._client.info("cpu"))
        return (facts["used_cpu_user_main_thread"] + facts["used_cpu_sys_main_thread"]) * 1000

    def _note(self, name: str, before: float) -> None:
        self.costs.setdefault(name, []).append(self._used_ms() - before - self._own)

    def highest(self, name: str) -> float:
        """The costliest call, but for one in fifty: after that many calls the server collects Lua's garbage, and one pays for it."""
        costs = sorted(self.costs[name])
        return costs[-1 - len(costs) // 50]
