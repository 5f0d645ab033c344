"""Attempts without a server: an executor whose every report is kept, in order."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import JsonValue

from engine.outcome import Failed, Outcome, Succeeded
from scheduler.attempt import Attempt
from scheduler.executor import Executor
from scheduler.registry import Registry, TaskFunction
from tests.support.waiting import wait_until_async

NUMBERS = itertools.count(1)


def an_attempt(
    function: str,
    args: dict[str, JsonValue] | None = None,
    timeout_seconds: float | None = None,
    heartbeat_timeout_seconds: float | None = None,
) -> Attempt:
    """An attempt with a claim id of its own."""
    number = next(NUMBERS)
    return Attempt(
        run_id="run",
        index=number,
        task_id=f"task-{number}",
        function=function,
        args=args or {},
        attempt=1,
        lost=0,
        fencing_token=number,
        claim_id=f"{number:032x}",
        timeout_seconds=timeout_seconds,
        heartbeat_timeout_seconds=heartbeat_timeout_seconds,
    )


class Workbench:
    """An executor, its registry, and the list of all that it reported: a list, so that a second report for one claim shows."""

    def __init__(self, *, threads: int = 8, processes: int = 1, result_bytes: int = 1000) -> None:
        self.registry = Registry()
        self.reports: list[tuple[str, Outcome]] = []
        self.listeners: list[Callable[[Attempt, Outcome], None]] = []
        self.executor = Executor(
            self.registry, "pod", on_done=self._on_done, threads=threads, processes=processes, result_bytes=result_bytes
        )

    def _on_done(self, attempt: Attempt, outcome: Outcome) -> None:
        self.reports.append((attempt.claim_id, outcome))
        for listener in self.listeners:
            listener(attempt, outcome)

    def add(self, function: Callable[..., Any], *, executor: str | None = None) -> str:
        """Registers it and returns its name."""
        added: TaskFunction = self.registry.register(function, executor=executor)
        return added.name

    def start(
        self,
        function: Callable[..., Any],
        args: dict[str, JsonValue] | None = None,
        timeout_seconds: float | None = None,
        heartbeat_timeout_seconds: float | None = None,
        *,
        executor: str | None = None,
    ) -> Attempt:
        """Registers the function if need be, and starts an attempt of it."""
        attempt = an_attempt(self.add(function, executor=executor), args, timeout_seconds, heartbeat_timeout_seconds)
        self.executor.start(attempt)
        return attempt

    def outcomes(self, attempt: Attempt) -> list[Outcome]:
        return [outcome for claim_id, outcome in self.reports if claim_id == attempt.claim_id]

    async def outcome(self, attempt: Attempt) -> Outcome:
        """Waits for the attempt's report, which must be the only one."""
        await wait_until_async(lambda: self.outcomes(attempt), f"a report for {attempt.function}")
        [outcome] = self.outcomes(attempt)
        return outcome

    async def result(self, attempt: Attempt) -> str:
        """The result as JSON, of an attempt that must succeed."""
        outcome = await self.outcome(attempt)
        assert isinstance(outcome, Succeeded), outcome
        return outcome.result_json

    async def failure(self, attempt: Attempt) -> Failed:
        """The failure, of an attempt that must fail."""
        outcome = await self.outcome(attempt)
        assert isinstance(outcome, Failed), outcome
        return outcome


@asynccontextmanager
async def workbench(*, threads: int = 8, processes: int = 1, result_bytes: int = 1000) -> AsyncGenerator[Workbench]:
    """A workbench whose executor is closed at the end."""
    bench = Workbench(threads=threads, processes=processes, result_bytes=result_bytes)
    try:
        yield bench
    finally:
        await bench.executor.close()
