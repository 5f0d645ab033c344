"""claim → execute → commit and claim → …: the loop that moves a partition's tasks through this pod.

One call is under way at a time. While it is, attempts go on ending, so the next call takes them all: batches grow with the load by
themselves, and a lone task's end is committed at once. A call whose answer was lost is repeated with the same operation id for as long
as it takes: what ran is never thrown away because Redis was out of reach.

A call claims either functions that run in this process or, by another set of capabilities, those that need a child process: so a pod
takes no more of these than it has processes for, and leaves the rest to other pods.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import deque
from collections.abc import Callable, Sequence

from engine.errors import StorageRefused, StorageUnavailable
from engine.events import RUN_HAD_ENDED, ClaimsReleased, CommitRefused, LeaseLost, LoopFailed, Publisher, RetryScheduled, TaskClaimed
from engine.observer import End, Observer
from engine.outcome import Outcome
from scheduler.attempt import Attempt
from scheduler.ending import end_of, ended
from scheduler.executor import Executor
from scheduler.holdings import Held, Holdings
from scheduler.passing import Passer
from scheduler.timers import Timers
from storage.graphs import RunGraph
from storage.partition import CLAIMS_PER_CALL, EDGES_PER_CALL, ENDED_PER_CALL, Claim, Ended, Identity, Partition, Settled, operation_id
from storage.repeat import until_answered

REFUSED_SECONDS = 1.0
"""Between two claims while the server refuses them."""


class Claimer:
    """One partition's claims in one pod. Everything here happens in the event loop's thread."""

    def __init__(
        self,
        number: int,
        partition: Partition,
        who: Identity,
        *,
        for_processes: Identity | None,
        holdings: Holdings,
        executor: Executor,
        timers: Timers,
        passer: Passer,
        publisher: Publisher,
        announce: Callable[[], None],
        on_backlog: Callable[[], None],
        on_first_claims: Callable[[Sequence[Claim]], None],
        clock: Callable[[], float],
        verbose: bool,
        observer: Observer,
        on_settled: Callable[[str], None] | None = None,
    ) -> None:
        """`for_processes` is the same pod with the functions that need a child process, if it has any; `who` has the others.

        `announce` makes the heartbeat tell storage again what this pod can run; `on_backlog` hears that ready tasks are left after a call,
        or that the server takes no claims; `on_first_claims` hears what the first claim of all brought; `verbose` publishes each claim;
        `on_settled` hears the claim id of each attempt whose commit was answered.
        """
        self.number = number
        self._partition, self._holdings, self._executor = partition, holdings, executor
        self._who, self._for_processes = who, for_processes
        self._timers, self._passer, self._publisher, self._announce = timers, passer, publisher, announce
        self._on_backlog, self._on_first_claims = on_backlog, on_first_claims
        self._clock, self._verbose, self._observer, self._on_settled = clock, verbose, observer, on_settled
        self._random = random.Random()
        self._done: deque[tuple[Held, Outcome]] = deque()
        self._turn = asyncio.Event()
        self._look = True
        self._look_for_processes = for_processes is not None
        self._draining = False
        for room in (holdings.slots, holdings.processes):
            room.call_when_fed(number, self.wake)
        self._starting: set[asyncio.Task[None]] = set()
        self.refused: str | None = None
        """Why the server takes no claims, while it does not."""
        self.failing = False
        """True while storage does not answer this loop."""
        self.unregistered = False
        """True from an answer that storage does not know what this pod can run, until a heartbeat has told it."""
        self.last_round: float | None = None
        """When a call was last answered, by `clock`."""

    def wake(self) -> None:
        """There may be ready tasks: look."""
        self._look = True
        self._look_for_processes = self._for_processes is not None
        self._turn.set()

    def attempt_done(self, held: Held, outcome: Outcome) -> None:
        """An attempt of this partition has ended: commit it."""
        self._holdings.end(held.claim.claim_id)
        held.seconds, held.end = self._clock() - held.started, end_of(outcome)
        if held.process:
            self._look_for_processes = True
        self._done.append((held, outcome))
        self._turn.set()

    def registered(self) -> None:
        """A heartbeat has arrived, which said what this pod can run if storage had asked for it."""
        if self.unregistered or self.last_round is None:
            self.unregistered = False
            self.wake()

    def drain(self) -> None:
        """Claims nothing more; goes on committing."""
        self._draining = True

    async def run(self) -> None:
        while True:
            await self._turn.wait()
            self._turn.clear()
            while self._done or self._may_claim():
                await self.run_once()
                self._holdings.feed()

    def _may_claim(self) -> bool:
        return not self._draining and (
            self._may_claim_for_processes() or (self._look and self._holdings.has_room(self.number, process=False))
        )

    def _may_claim_for_processes(self) -> bool:
        return self._look_for_processes and self._holdings.has_room(self.number, process=True)

    async def run_once(self) -> Settled:
        """One call: commits what has ended and claims what there is room for."""
        batch, ends, partial = self._next_batch()
        process = not self._draining and self._may_claim_for_processes()
        reserved = 0 if self._draining else self._holdings.reserve(self.number, CLAIMS_PER_CALL, process=process)
        who = self._who
        if process and self._for_processes is not None:
            # What this call makes ready for the other set of capabilities is looked for by the next one.
            who, self._look_for_processes, self._look = self._for_processes, False, True
        else:
            # Without a place this call claims nothing, though its commits may make tasks ready: look once there is one.
            self._look = not reserved
        op = operation_id()
        try:
            settled = await until_answered(lambda: self._call(op, who, ends, reserved), on_failure=self._storage_failed)
            first = self.last_round is None
            self.failing, self.last_round = False, self._clock()
            self._settle(batch, ends, partial, settled)
            if settled.lanes_left:
                self._on_backlog()
            if first:
                self._on_first_claims(settled.claims)
            self._receive(settled.claims, process=process)
        except Exception:
            # Stored data make no sense. What the pod does not list goes back to the queue; what it lists for ever would stay running.
            for held in batch:
                self._holdings.drop(held.claim.claim_id)
            self.wake()
            raise
        finally:
            self._holdings.settle(reserved, process=process)
        if not settled.registered and reserved:
            self.unregistered = True
            self._announce()
        elif reserved and len(settled.claims) == reserved:
            self._look_for_processes |= process
            self._look |= not process
        return settled

    async def _call(self, op: str, who: Identity, ends: Sequence[Ended], want: int) -> Settled:
        if ends:
            return await self._partition.commit(op, who, ends, want)
        try:
            claimed = await self._partition.claim(op, who, want)
        except StorageRefused as error:
            self._refuse(str(error))
            return Settled([], [], cascades=False, registered=True)
        self.refused = None
        return claimed

    def _refuse(self, reason: str) -> None:
        """A full server takes no claims, and goes on taking commits: those must not wait behind a claim. Look again in a while."""
        if self.refused is None:
            self._publisher.publish(LoopFailed(pod_id=self._who.pod_id, loop="Claimer", error=reason, traceback=""))
        self.refused = reason
        self._on_backlog()
        asyncio.get_running_loop().call_later(REFUSED_SECONDS, self.wake)

    def _storage_failed(self, error: StorageUnavailable | StorageRefused) -> None:
        del error  # the heartbeat thread reports what storage does, once for all loops
        self.failing = True

    def _next_batch(self) -> tuple[list[Held], list[Ended], list[tuple[str, str, int]]]:
        """What to commit next, within the bounds of one call, and the slices that are left of wide fan-outs."""
        batch: list[Held] = []
        ends: list[Ended] = []
        partial: list[tuple[str, str, int]] = []
        budget = EDGES_PER_CALL
        while self._done and len(batch) < ENDED_PER_CALL and budget > 0:
            held, outcome = self._done.popleft()
            claim, graph = held.claim, held.graph
            if graph is None or claim.claim_id not in self._holdings:
                continue
            end = ended(claim, graph.graph.tasks[claim.index], outcome, self._random)
            if end.outcome in {"succeeded", "failed"}:
                successors = len(graph.graph.successors[claim.index])
                end.edges = graph.edges(claim.index, 0, budget)
                if successors > budget:
                    end.passed = str(budget)
                    partial.append((claim.run_id, str(claim.index), budget))
                budget -= successors
            batch.append(held)
            ends.append(end)
        return batch, ends, partial

    def _settle(self, batch: list[Held], ends: list[Ended], partial: list[tuple[str, str, int]], settled: Settled) -> None:
        for held, end, word in zip(batch, ends, settled.words, strict=True):
            self._holdings.drop(held.claim.claim_id)
            if word == "STALE":
                self._refused(held, "another claim, or none")
            elif word == "TERMINAL":
                self._observer.ended(held.function, End.CANCELLED, None)
                self._refused(held, RUN_HAD_ENDED)
            else:
                self._observer.ended(held.function, held.end, held.seconds)
                if end.delay_ms or end.outcome in {"retry", "sleep"}:
                    self._waits(held, end)
            if self._on_settled is not None:
                self._on_settled(held.claim.claim_id)
        if settled.cascades:
            self._timers.nudge(0)
        if partial:
            self._passer.add(partial)

    def _waits(self, held: Held, end: Ended) -> None:
        self._timers.nudge(end.delay_ms / 1000)
        if end.outcome == "retry" and held.attempt is not None:
            self._publisher.publish(
                RetryScheduled(
                    run_id=held.claim.run_id,
                    task_id=held.attempt.task_id,
                    function=held.function,
                    attempt=held.claim.attempt,
                    delay_seconds=end.delay_ms / 1000,
                )
            )

    def _refused(self, held: Held, current: str) -> None:
        self._publisher.publish(
            CommitRefused(
                run_id=held.claim.run_id,
                task_id=_task_id(held),
                attempt=held.claim.attempt,
                claim_id=held.claim.claim_id,
                pod_id=self._who.pod_id,
                current=current,
            )
        )

    def _receive(self, claims: list[Claim], *, process: bool) -> None:
        """Starts claimed tasks; those of runs that this pod does not know yet follow when their graphs are there."""
        unknown: list[Held] = []
        for claim in claims:
            # A token is the server's time in µs at the claim; only a failover makes one larger.
            self._observer.claimed(claim.lane, claim.fencing_token / 1e6 - claim.ready_at_ms / 1e3)
            held = Held(claim, self.number, process)
            self._holdings.add(held)
            graph = self._partition.graphs.get(claim.run_id)
            if graph is None:
                unknown.append(held)
            else:
                self._start(held, graph)
        if unknown:
            starting = asyncio.create_task(self._start_unknown(unknown))
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    def _start(self, held: Held, graph: RunGraph) -> None:
        claim, task = held.claim, graph.graph.tasks[held.claim.index]
        held.graph = graph
        held.attempt = Attempt(
            run_id=claim.run_id,
            index=claim.index,
            task_id=task.id,
            function=task.function,
            args=task.args,
            attempt=claim.attempt,
            lost=claim.lost,
            fencing_token=claim.fencing_token,
            claim_id=claim.claim_id,
            timeout_seconds=task.timeout_seconds,
            heartbeat_timeout_seconds=task.heartbeat_timeout_seconds,
            ready_at_ms=claim.ready_at_ms,
            trace=self._partition.graphs.trace_of(claim.run_id),
        )
        held.started = self._clock()
        if self._verbose:
            self._publisher.publish(
                TaskClaimed(
                    run_id=claim.run_id,
                    task_id=task.id,
                    function=task.function,
                    attempt=claim.attempt,
                    claim_id=claim.claim_id,
                    pod_id=self._who.pod_id,
                )
            )
        self._executor.start(held.attempt)

    async def _start_unknown(self, batch: list[Held]) -> None:
        try:
            graphs = await until_answered(lambda: self._partition.load_graphs((held.claim.run_id for held in batch), strict=False))
        except Exception as error:  # noqa: BLE001  # a definition that this version cannot read must not hold slots for ever
            self._unreadable(batch, error)
            return
        for held in batch:
            graph = graphs.get(held.claim.run_id)
            if held.claim.claim_id not in self._holdings:
                continue
            if graph is None:
                # The run expired between claim and look, or a newer version wrote its definition: what this pod does not list goes back.
                self._holdings.drop(held.claim.claim_id)
            else:
                self._start(held, graph)

    def _unreadable(self, batch: list[Held], error: Exception) -> None:
        """Forgets the claims: what a pod does not list goes back to the queue after a while, for a pod that can read it."""
        for held in batch:
            self._holdings.drop(held.claim.claim_id)
        self._publisher.publish(
            LoopFailed(pod_id=self._who.pod_id, loop="Claimer", error=repr(error), traceback="".join(traceback.format_exception(error)))
        )

    def lose(self, claim_ids: Sequence[str]) -> None:
        """The claims are not current any more: their attempts are stopped, their results dropped."""
        for claim_id in claim_ids:
            # The heartbeat may have met a commit of ours on the way: then the claim is settled, not lost.
            held = None if self._holdings.has_ended(claim_id) else self._holdings.drop(claim_id)
            if held is None:
                continue
            self._executor.stop(claim_id)
            self._publisher.publish(
                LeaseLost(
                    run_id=held.claim.run_id,
                    task_id=_task_id(held),
                    attempt=held.claim.attempt,
                    claim_id=claim_id,
                    pod_id=self._who.pod_id,
                )
            )
        self.wake()

    async def give_back(self, batch: Sequence[Held], reason: str, why: End) -> None:
        """Stops attempts and releases their claims, uncharged; `why` is RELEASED, or CANCELLED."""
        for held in batch:
            self._executor.stop(held.claim.claim_id)
        await self._partition.release(self._who, [held.claim.ref for held in batch])
        for held in batch:
            self._holdings.drop(held.claim.claim_id)
            self._observer.ended(held.function, why, None)
        if batch:
            self._publisher.publish(ClaimsReleased(pod_id=self._who.pod_id, count=len(batch), reason=reason))
            self.wake()


def _task_id(held: Held) -> str:
    return held.attempt.task_id if held.attempt is not None else f"#{held.claim.index}"
