"""A pod that makes one call at a time, as a test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler.identity import capabilities_of
from storage.heartbeats import HeartbeatConnection, Pulse
from storage.partition import EDGES_PER_CALL, Claim, Ended, Identity, Reaped, Settled

if TYPE_CHECKING:
    from tests.support.lab import Lab

Slice = tuple[str, str, int]
"""Run id, task index or `root` or `sweep`, offset."""


class LabPod:
    """A pod without loops: each method is one call."""

    def __init__(self, lab: Lab, name: str, functions: Sequence[str], queues: Sequence[str], ttl_ms: int) -> None:
        self._lab = lab
        self.capabilities, digest = capabilities_of(queues, functions)
        self.who = Identity(name, digest, ttl_ms)
        self.connection = HeartbeatConnection(lab.url, lab.keys, lab.store.address, timeout_seconds=30)

    @property
    def name(self) -> str:
        return self.who.pod_id

    def beat(self, *claims: Claim, say: bool = False, unheard_before_ms: int = 1) -> Pulse:
        with self._lab.moment():
            return self.connection.beat(
                self.who,
                [claim.ref for claim in claims],
                unheard_before_ms=unheard_before_ms,
                capabilities=self.capabilities if say else "",
                description='{"host":"h"}' if say else "",
            )

    async def claim(self, want: int = 64, *, op: str | None = None) -> list[Claim]:
        with self._lab.moment():
            settled = await self._lab.partition.claim(op or self._lab.op(), self.who, want)
        assert settled.registered
        return settled.claims

    async def claim_one(self) -> Claim:
        [claim] = await self.claim(1)
        return claim

    def end(
        self,
        claim: Claim,
        outcome: str = "succeeded",
        payload: str = "true",
        *,
        line: str = "",
        delay_ms: int = 0,
        budget: int = EDGES_PER_CALL,
    ) -> Ended:
        """An attempt's end as the scheduler would commit it."""
        end = Ended(claim.ref, outcome, payload, line, delay_ms)
        if outcome in {"succeeded", "failed"}:
            graph = self._lab.graphs[claim.run_id]
            end.edges = graph.edges(claim.index, 0, budget)
            if len(graph.graph.successors[claim.index]) > budget:
                end.passed = str(budget)
        return end

    async def commit(self, *ends: Ended, want: int = 0, op: str | None = None) -> Settled:
        with self._lab.moment():
            return await self._lab.partition.commit(op or self._lab.op(), self.who, ends, want)

    async def succeed(self, *claims: Claim) -> list[str]:
        return (await self.commit(*(self.end(claim) for claim in claims))).words

    async def fail(self, *claims: Claim) -> list[str]:
        return (await self.commit(*(self.end(claim, "failed", '{"type":"E"}', line="E: no") for claim in claims))).words

    async def release(self, *claims: Claim, leave: bool = False) -> list[str]:
        with self._lab.moment():
            return await self._lab.partition.release(self.who, [claim.ref for claim in claims], leave=leave)

    async def reap(self, *, max_lost: int = 3, limit: int = 200, heard_ago_ms: int = 0) -> Reaped | None:
        """None where it may not judge."""
        with self._lab.moment():
            verdict = await self._lab.partition.reap(self.who, max_lost, limit, heard_ms=self._lab.now_ms() - heard_ago_ms)
        return None if isinstance(verdict, str) else verdict

    async def fire(self, limit: int = 200) -> list[Slice]:
        with self._lab.moment():
            return (await self._lab.partition.fire_timers(limit))[0]

    async def pass_on(self, run_id: str, index: str, start: int, *, width: int = EDGES_PER_CALL) -> tuple[str, bool]:
        """One slice."""
        graph = self._lab.graphs[run_id]
        root = index == "root"
        total = len(graph.graph.roots if root else graph.graph.successors[int(index)])
        edges = graph.roots(start, width) if root else graph.edges(int(index), start, width)
        with self._lab.moment():
            return await self._lab.partition.pass_on(run_id, index, start, start + width if start + width < total else None, edges)

    async def pass_everything_on(self) -> int:
        """Passes slices on, and those that follow from them, until none is due. Answers how many there were."""
        passed = 0
        while True:
            self._lab.bring_forward("edges")
            slices = await self.fire()
            if not slices:
                return passed
            for run_id, index, start in slices:
                assert (await self.pass_on(run_id, index, start))[0] != "STALE"
                passed += 1
