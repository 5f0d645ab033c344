"""A pod's scheduler: its loops, wired together, from start to drain.

One TaskGroup owns all loops; the heartbeat is a thread (see `scheduler.heart`).
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from engine.errors import ConfigError, StorageError
from engine.events import AttemptFinished, LoopFailed, PodDraining, PodStopped, Publisher, RunFinished
from engine.observer import End, NoObserver, Observer
from engine.outcome import Failed, Outcome, Sleeping
from engine.states import RunState
from scheduler.attempt import Attempt
from scheduler.auditor import Auditor
from scheduler.claimer import Claimer
from scheduler.executor import Executor
from scheduler.heart import Description, Heart
from scheduler.holdings import Held, Holdings
from scheduler.identity import Passport, PodOptions
from scheduler.inbox import Inbox
from scheduler.keeping import StoredEffects
from scheduler.loops import Loops
from scheduler.passing import Passer
from scheduler.reaper import Reaper
from scheduler.registry import Registry
from scheduler.room import Room
from scheduler.task_logs import TaskLogs
from scheduler.timers import Timers
from scheduler.tracing import AttemptTracer
from scheduler.waits import WaitNoter
from storage.heartbeats import Pulse
from storage.repeat import until_answered
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    reason: str
    detail: dict[str, JsonValue]


class Pod:
    """A pod's scheduler. `start`, then `drain` (optional), then `stop`."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        publisher: Publisher,
        options: PodOptions,
        *,
        observer: Observer | None = None,
        tracer: AttemptTracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Needs a running loop, since the executor does."""
        self._tracer = tracer
        if tracer is not None:
            store.read_traces()
        self._store, self._registry, self._publisher, self._options = store, registry, publisher, options
        self._observer: Observer = observer or NoObserver()
        self._passport = Passport(registry, options)
        self.who = self._passport.who
        self._holdings = Holdings(options.concurrency, options.processes)
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._released = 0
        self._loops = Loops(self.who.pod_id, publisher)
        self._beside: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._effects = StoredEffects(self._holdings, store.partitions, result_bytes=options.result_bytes)
        self._logs = TaskLogs(store.partition_for, self.who.pod_id, options.log_caps)
        self._executor = Executor(
            registry,
            self.who.pod_id,
            on_done=self._attempt_done,
            result_bytes=options.result_bytes,
            threads=options.concurrency,
            processes=options.processes,
            effects=self._effects,
            tracer=tracer,
            lines=self._logs,
        )
        self._timers: list[Timers] = []
        self._passers: list[Passer] = []
        self._claimers: list[Claimer] = []
        self._reapers: list[Reaper] = []
        self._auditors: list[Auditor] = []
        self._inboxes: list[Inbox] = []
        self._noters: list[WaitNoter] = []
        self._heart = self._make_heart()
        for number in range(len(store.partitions)):
            self._wire(number)

    def _make_heart(self) -> Heart:
        connections = self._store.heartbeat_connections(timeout_seconds=max(0.25, self._options.lease_ttl_seconds / 3))
        return Heart(
            connections,
            self.who,
            address=self._store.address,
            refs=self._holdings.refs,
            describe=self._describe,
            on_pulse=lambda number, pulse: self._in_loop(self._on_pulse, number, pulse),
            on_back=lambda seconds: self._in_loop(self._storage_back, seconds),
            unheard_seconds=self._options.unheard_seconds,
            retry_seconds=self._options.beat_retry_seconds,
            publisher=self._publisher,
            observer=self._observer,
            apart=self._store.several_servers,
            clock=self._clock,
        )

    def _wire(self, number: int) -> None:
        partition = self._store.partitions[number]
        partition.on_run_ended = lambda run_id, state: self._publisher.publish(RunFinished(run_id=run_id, state=RunState(state)))
        timers = Timers(partition, self._clock, look_seconds=self._options.look_seconds)
        passer = Passer(partition, timers)
        timers.on_slices = passer.add
        noter = WaitNoter(
            partition.backlog,
            self._store,
            self.who,
            refused=lambda: claimer.refused is not None,
            full=lambda: not self._holdings.slots.free(),
        )
        claimer = Claimer(
            number,
            partition,
            self.who,
            for_processes=self._passport.for_processes,
            holdings=self._holdings,
            executor=self._executor,
            timers=timers,
            passer=passer,
            publisher=self._publisher,
            announce=lambda: self._heart.beat_now(describe=True),
            on_backlog=noter.nudge,
            on_first_claims=noter.found_waiting,
            clock=self._clock,
            verbose=self._options.verbose,
            observer=self._observer,
            on_settled=self._tracer.settled if self._tracer is not None else None,
        )
        self._noters.append(noter)
        self._timers.append(timers)
        self._passers.append(passer)
        self._claimers.append(claimer)
        self._reapers.append(
            Reaper(
                partition,
                self.who,
                max_lost=self._options.max_lost,
                clock=self._clock,
                publisher=self._publisher,
                observer=self._observer,
                on_reaped=lambda: self._reaped(timers, noter),
            )
        )
        self._auditors.append(
            Auditor(
                partition,
                self.who,
                after_seconds=self._options.audit_after_seconds,
                publisher=self._publisher,
                on_due=lambda: timers.nudge(0),
            )
        )
        self._inboxes.append(
            Inbox(
                partition,
                self.who.pod_id,
                on_ready=claimer.wake,
                on_due=lambda: timers.nudge(0),
                on_stop=lambda run_id: self._stop_run(number, run_id),
            )
        )

    @staticmethod
    def _reaped(timers: Timers, noter: WaitNoter) -> None:
        timers.nudge(0)
        noter.nudge()

    async def start(self) -> None:
        """Starts the loops and the heartbeat. Storage need not be there yet."""
        self._heart.start()
        loops = (*self._claimers, *self._passers, *self._timers, *self._reapers, *self._auditors, *self._inboxes, *self._noters, self._logs)
        self._loops.start(loops)

    async def drain(self, grace_seconds: float) -> None:
        """Claims nothing more, lets what runs finish for `grace_seconds`, and gives back the rest. Heartbeats go on."""
        self._draining = True
        for claimer in self._claimers:
            claimer.drain()
        self._publisher.publish(PodDraining(pod_id=self.who.pod_id, running=len(self._holdings), grace_seconds=grace_seconds))
        self._heart.beat_now(describe=True)
        try:
            await asyncio.wait_for(self._holdings.wait_until_empty(), grace_seconds)
        except TimeoutError:
            return

    async def hand_back(self) -> None:
        """Gives back what has not finished: it can start elsewhere while this pod still answers its last requests."""
        self._released += await self._give_back(self._holdings.unended())

    async def stop(self) -> None:
        """Gives back what is still held and ends: executor first, then the loops, the heartbeat last; then it signs off."""
        self._draining = True
        await self.hand_back()
        await self.abandon()
        await self._logs.close()
        await self._sign_off()
        self._publisher.publish(PodStopped(pod_id=self.who.pod_id, released=self._released))

    async def abandon(self) -> None:
        """Ends executor, loops and heartbeat without a word to storage: what is held runs out there, as after a kill."""
        await self._executor.close()
        self._effects.close()
        await self._loops.stop()
        self._heart.stop()
        if self._heart.is_alive():
            await asyncio.to_thread(self._heart.join, 2 * self._options.lease_ttl_seconds)

    async def _give_back(self, left: list[Held]) -> int:
        """Releases claims, again where the call was lost; where storage is away their leases run out, and another pod takes over."""
        released = 0
        for number, claimer in enumerate(self._claimers):
            claimer.drain()
            mine = [held for held in left if held.partition == number]
            try:
                await self._leave(functools.partial(claimer.give_back, mine, "the pod stops", End.RELEASED))
                released += len(mine)
            except (StorageError, TimeoutError):
                continue
        return released

    async def _sign_off(self) -> None:
        for partition in self._store.partitions:
            try:
                if self._passport.for_processes is not None:
                    await self._leave(functools.partial(partition.release, self._passport.for_processes, []))
                await self._leave(functools.partial(partition.release, self.who, [], leave=True))
            except (StorageError, TimeoutError):
                return

    async def _leave(self, call: Callable[[], Awaitable[object]]) -> None:
        """Repeats the call until storage answers; TimeoutError where a leaving pod waits no longer."""
        async with asyncio.timeout(self._options.leave_seconds):
            await until_answered(call)

    def look(self) -> None:
        """Looks for ready tasks, timers that are due, and orphans at once."""
        for claimer, timers, reaper in zip(self._claimers, self._timers, self._reapers, strict=True):
            claimer.wake()
            timers.look()
            reaper.look()

    def beat_now(self) -> None:
        """Sends a heartbeat at once."""
        self._heart.beat_now()

    @property
    def held(self) -> int:
        """Claims that this pod holds."""
        return len(self._holdings)

    @property
    def rooms(self) -> tuple[Room, Room]:
        """Slots, and child processes: how many there are, and how many are taken."""
        return self._holdings.slots, self._holdings.processes

    @property
    def last_beat(self) -> float | None:
        """When the last heartbeat was answered, by the pod's clock; None before the first."""
        return self._heart.last_ok

    @property
    def storage_fails(self) -> bool:
        """True while storage does not answer the heartbeat, or a claim loop; of several servers, while none of them does."""
        some = all if self._store.several_servers else any
        return self._heart.failing or some(claimer.failing for claimer in self._claimers)

    def readiness(self) -> Readiness:
        """Ready while the heartbeat arrives, the claim loop turns, and the pod is not leaving."""
        heard = self._heart.last_heard
        since_beat = None if heard is None else round(self._clock() - heard, 3)
        detail: dict[str, JsonValue] = {"pod_id": self.who.pod_id, "running": len(self._holdings), "seconds_since_heartbeat": since_beat}
        if self._draining:
            return Readiness(ready=False, reason="the pod is draining", detail=detail)
        if since_beat is None or self.storage_fails:
            return Readiness(ready=False, reason=f"no answer from {self._store.address}", detail=detail)
        refused = next((claimer.refused for claimer in self._claimers if claimer.refused), None)
        if refused is not None:
            return Readiness(ready=False, reason=refused, detail=detail)
        if since_beat > self.who.ttl_ms / 1000:
            return Readiness(ready=False, reason="the heartbeat is late", detail=detail)
        if any(claimer.last_round is None for claimer in self._claimers):
            return Readiness(ready=False, reason="the claim loop has not finished a round yet", detail=detail)
        return Readiness(ready=True, reason="ok", detail=detail)

    def _describe(self) -> Description:
        """Called in the heartbeat thread."""
        return self._passport.describe("draining" if self._draining else "alive")

    def _in_loop(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop has ended: the pod is on its way out, and there is nobody left to tell.
            return

    def _on_pulse(self, number: int, pulse: Pulse) -> None:
        claimer = self._claimers[number]
        self._reapers[number].heard(pulse.now_ms)
        if pulse.standing == "GAP":
            self._reapers[number].hold_off()
        if pulse.standing != "OK":
            claimer.wake()
        if pulse.standing == "NEW" and number == 0:
            self._keep(self._note_layout())
        claimer.registered()
        if pulse.lost:
            claimer.lose(pulse.lost)
        stopped = [
            held for claim_id in pulse.stop if not self._holdings.has_ended(claim_id) and (held := self._holdings.get(claim_id)) is not None
        ]
        if stopped:
            self._background(claimer, stopped)

    def _storage_back(self, seconds: float) -> None:
        for noter in self._noters:
            noter.outage(seconds)

    def _stop_run(self, number: int, run_id: str) -> None:
        stopped = [held for held in self._holdings.of_run(run_id) if held.partition == number]
        if stopped:
            self._background(self._claimers[number], stopped)

    def _background(self, claimer: Claimer, stopped: list[Held]) -> None:
        """Tells storage that attempts of an ended run have stopped; if that fails, the next heartbeat brings it up again."""
        for held in stopped:
            self._executor.stop(held.claim.claim_id)

        async def give_back() -> None:
            try:
                await until_answered(lambda: claimer.give_back(stopped, "the run has ended", End.CANCELLED), within_seconds=5.0)
            except StorageError:
                return

        self._keep(give_back())

    async def _note_layout(self) -> None:
        """Storage did not know this pod: it may have come back empty, and a pod that differs must still be refused there."""
        try:
            await until_answered(self._store.agree_on_layout, within_seconds=5.0)
        except (ConfigError, StorageError) as error:
            self._publisher.publish(LoopFailed(pod_id=self.who.pod_id, loop="layout", error=str(error), traceback=""))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        """Runs it beside the loops; a task that nobody refers to may be collected."""
        task = self._loop.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _attempt_done(self, attempt: Attempt, outcome: Outcome) -> None:
        self._logs.ended(attempt.claim_id)
        held = self._holdings.get(attempt.claim_id)
        if held is None:
            return
        if self._options.verbose or isinstance(outcome, Failed):
            self._publisher.publish(self._finished(held, attempt, outcome))
        self._claimers[held.partition].attempt_done(held, outcome)

    def _finished(self, held: Held, attempt: Attempt, outcome: Outcome) -> AttemptFinished:
        error = outcome.error if isinstance(outcome, Failed) else None
        return AttemptFinished(
            run_id=attempt.run_id,
            task_id=attempt.task_id,
            function=attempt.function,
            attempt=attempt.attempt,
            claim_id=attempt.claim_id,
            pod_id=self.who.pod_id,
            outcome="failed" if error else "sleeping" if isinstance(outcome, Sleeping) else "succeeded",
            error_type=error.type if error else None,
            error_message=error.message if error else None,
            duration_seconds=self._clock() - held.started,
        )
