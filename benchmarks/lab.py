"""What a measurement needs: a server, a pod on it, the reference, and a view of both from outside."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.pod_process import pod
from benchmarks.posting import Poster
from benchmarks.probe import Probe
from benchmarks.reference import Reference
from engine.states import RunState
from storage.store import Store
from storage.views import RunView, ServerInfo

RETENTION_SECONDS = 3600
"""Outlives every measurement, so that no run expires within one."""
LOOK_SECONDS = 0.02
RUN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Lab:
    """One pod and one server, with nobody else in their namespace."""

    url: str
    namespace: str
    repeat: int
    poster: Poster
    """The pod's API."""
    reference: Reference
    probe: Probe
    store: Store
    """Looks at runs in storage directly: asking the pod would slow it down. It runs no task."""
    info: ServerInfo

    def server_ms(self) -> float:
        """The server's clock now, as run timestamps have it."""
        return time.time() * 1000 + self.info.clock_offset_ms

    async def run(self, body: bytes) -> RunView:
        """Posts a workflow and waits for its end."""
        return (await self.finished([await self.poster.submit(body)]))[0]

    async def finished(self, run_ids: Sequence[str]) -> list[RunView]:
        """The runs once they have all succeeded. RuntimeError for any other end, TimeoutError after two minutes."""
        async with asyncio.timeout(RUN_SECONDS):
            return [await self._finished(run_id) for run_id in run_ids]

    async def _finished(self, run_id: str) -> RunView:
        while not (run := await self.store.get_run(run_id)).state.terminal:  # noqa: ASYNC110  (what is waited for is in Redis)
            await asyncio.sleep(LOOK_SECONDS)
        if run.state is not RunState.SUCCEEDED:
            raise RuntimeError(f"run {run_id} {run.state}: {run.reason}")
        return run


@asynccontextmanager
async def lab(url: str, repeat: int) -> AsyncGenerator[Lab]:
    """A pod in a namespace of its own, whose keys are deleted afterwards."""
    namespace = "bench-" + secrets.token_hex(4)
    store = await Store.open(url, namespace=namespace, retention_seconds=RETENTION_SECONDS)
    try:
        async with Probe.open(url, namespace) as probe:
            try:
                async with (
                    Reference.open(url, f"{{{namespace}:0}}:reference:") as reference,
                    pod(url, namespace, RETENTION_SECONDS) as poster,
                ):
                    yield Lab(url, namespace, repeat, poster, reference, probe, store, await store.check())
            finally:
                await probe.delete_all()
    finally:
        await store.close()


def seconds(run: RunView) -> float:
    """From the run's first claim to its last commit, by the server's clock."""
    assert run.started_at_ms is not None
    assert run.finished_at_ms is not None
    return (run.finished_at_ms - run.started_at_ms) / 1000
