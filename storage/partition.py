"""What a pod's loops do with one partition: each method is one script, called once.

Methods that change something take an operation id from their caller, who repeats them with the same one (`storage.repeat`).
They raise StorageUnavailable (outcome unknown, or not now), StorageRefused (nothing applied) or StorageCorrupt.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import redis.asyncio

from engine.errors import StorageCorrupt
from engine.limits import EFFECTS_PER_TASK
from storage.audits import Audits
from storage.backlog import Backlog
from storage.connection import translated
from storage.graphs import GraphCache, RunGraph, unpack
from storage.keys import Keys
from storage.scripts import Answer, Argument, call
from storage.task_logs import Batch, LogCaps

EDGES_PER_CALL = 250
"""Successors that one call decides at most; the rest follow by `pass_on`. Keeps a call at a few ms of Redis."""
ENDED_PER_CALL = 64
CLAIMS_PER_CALL = 64
"""Bounds of a commit's other two parts; together no call touches more than 400 tasks."""
COMPILE_INLINE_BYTES = 8 * 1024
"""A larger packed definition is compiled in a thread, so that it does not hold up the loop."""


def operation_id() -> str:
    """30 random hex digits; with two more they are a claim id of 128 bits."""
    return os.urandom(15).hex()


@dataclass(slots=True)
class Claim:
    """A pod's right to one attempt of a task."""

    ref: str
    """What every call about this claim names it by."""
    claim_id: str
    run_id: str
    index: int
    attempt: int
    lost: int
    fencing_token: int
    ready_at_ms: int

    @property
    def lane(self) -> str:
        """`queue/function`."""
        return self.ref.rpartition(" ")[2]

    @classmethod
    def parse(cls, text: str) -> Claim:
        """From "claim run index flags priority lane attempt lost token ready_at_ms"."""
        ref, attempt, lost, token, ready = text.rsplit(" ", 4)
        claim_id, run_id, index, _ = ref.split(" ", 3)
        return cls(ref, claim_id, run_id, int(index), int(attempt), int(lost), int(token), int(ready))


@dataclass(slots=True)
class Ended:
    """An attempt's end, as `commit` takes it."""

    ref: str
    outcome: str
    """`succeeded`, `failed`, `retry` or `sleep`."""
    payload: str
    """JSON of the result or the error."""
    line: str = ""
    """The error in one short line, for the event."""
    delay_ms: int = 0
    passed: str = ""
    """Offset of the first successor not in `edges`, where they are too many for one call."""
    edges: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What `claim` and `commit` answer."""

    words: list[str]
    """For each attempt: `OK`, `STALE` (not its claim any more) or `TERMINAL` (its run ended first)."""
    claims: list[Claim]
    cascades: bool
    """Some successor was skipped: its own successors are due as slices."""
    registered: bool
    """False where the server has forgotten this pod's capabilities: a heartbeat tells it again."""
    lanes_left: int = field(default=0, compare=False)
    """Lanes that held ready tasks after the call, also of functions that this pod does not have; a repeated call does not tell."""


class Reaped(NamedTuple):
    """What `reap` answers."""

    put_back: int
    failed: int
    """For good, after too many losses."""
    following_seconds: float
    """Until the next deadline."""
    orphans: list[tuple[str, float]]
    """Lane of each task that was put back or failed, and seconds since its pod's deadline."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, and what it can run."""

    pod_id: str
    capabilities_digest: str
    ttl_ms: int


class Partition(Audits):
    """One partition, seen by one pod's loops."""

    def __init__(self, client: redis.asyncio.Redis, inbox: redis.asyncio.Redis, keys: Keys, address: str, graphs: GraphCache) -> None:
        super().__init__(client, keys, address)
        self._inbox, self.graphs = inbox, graphs
        self.backlog = Backlog(client, keys, address)
        self.reads_traces = False
        """True where attempts are traced: the trace context of a run is read together with its definition."""
        self.on_run_ended: Callable[[str, str], None] | None = None
        """Hears run id and state of each run that a call of this pod has ended; a repeated call may say it again."""

    async def _call(self, name: str, *args: Argument) -> Answer:
        with translated(self._address):
            return await call(self._client, name, self.keys.prefix, *args)

    async def claim(self, op: str, who: Identity, want: int) -> Settled:
        """Claims up to `want` ready tasks; a pod that gets fewer is noted as idle and will find a message in its inbox."""
        return _settled(await self._call("claim", op, who.pod_id, who.capabilities_digest, want, who.ttl_ms))

    async def commit(self, op: str, who: Identity, ended: Sequence[Ended], want: int) -> Settled:
        """Commits ended attempts and claims up to `want` more in the same call."""
        args: list[Argument] = [op, who.pod_id, who.capabilities_digest, want, who.ttl_ms, len(ended)]
        for end in ended:
            args += (end.ref, end.outcome, end.delay_ms, end.line, end.payload, end.passed, end.edges)
        answer = await self._call("commit", *args)
        self._tell_ended(answer[4:5])
        return _settled(answer)

    async def pass_on(self, run_id: str, index: str, start: int, following: int | None, edges: str) -> tuple[str, bool]:
        """Tells one slice of successors. Answers `OK`, `STALE` or `TERMINAL`, and whether there are slices due from it."""
        answer = await self._call("pass_on", run_id, index, start, "" if following is None else following, edges)
        self._tell_ended(answer[2:] if answer[0] == "OK" else [])
        return answer[0], answer[0] == "OK" and bool(answer[1])

    async def sweep(self, run_id: str, start: int, following: int | None, entries: str) -> str:
        """Takes a slice of an ended run's tasks out of the ready queue. Answers `OK`, `STALE` or `RUNNING`."""
        return (await self._call("sweep", run_id, start, "" if following is None else following, entries))[0]

    async def fire_timers(self, limit: int = 200) -> tuple[list[tuple[str, str, int]], float | None, int]:
        """Fires what is due. Answers slices for this pod to pass on (run, index, offset), seconds to the next timer, and how many fired."""
        answer = await self._call("fire_timers", limit)
        self._tell_ended(answer[4:])
        slices = [(run_id, index, int(start)) for run_id, index, start in (text.split(" ") for text in answer[1])]
        return slices, None if answer[2] < 0 else answer[2] / 1000, answer[3]

    async def reap(self, who: Identity, max_lost: int, limit: int = 200, *, heard_ms: int) -> Reaped | Literal["GRACE", "LATE"]:
        """Puts back what dead pods held, or answers a word where this pod has no right to judge: its deadline has passed (`GRACE`), or
        the last answer to a heartbeat that it has heard, which gave the server's time as `heard_ms`, is too old (`LATE`)."""
        answer = await self._call("reap", who.pod_id, who.ttl_ms, max_lost, limit, heard_ms)
        if len(answer) == 1:
            return cast(Literal["GRACE", "LATE"], answer[0])
        self._tell_ended(answer[5:6])
        orphans = [text.rpartition(" ") for text in answer[6]]
        return Reaped(answer[1], answer[2], answer[3] / 1000, [(lane, int(ms) / 1000) for lane, _, ms in orphans])

    def _tell_ended(self, ended: Sequence[Sequence[str]]) -> None:
        for run_id, state in (text.split(" ") for texts in ended for text in texts):
            if self.on_run_ended is not None:
                self.on_run_ended(run_id, state)

    async def release(self, who: Identity, refs: Sequence[str], *, leave: bool = False) -> list[str]:
        """Gives claims back uncharged; a pod that leaves signs off with the last call."""
        words: list[str] = []
        batches = [refs[at : at + CLAIMS_PER_CALL] for at in range(0, len(refs), CLAIMS_PER_CALL)] or [[]]
        for number, batch in enumerate(batches, 1):
            last = leave and number == len(batches)
            answer = await self._call("release", who.pod_id, who.capabilities_digest, "leave" if last else "", *batch)
            words += answer[1]
        return words

    async def begin_effect(self, op: str, ref: str, name: str, *, again: bool) -> tuple[str, str]:
        """Records that a claim's attempt is about to act under a name; `again`: also where that was begun before and never confirmed.

        Answers `new`, `unknown`, `confirmed` with the result's JSON, `STALE`, `TERMINAL` with the run's state, or `FULL`.
        """
        answer = await self._call("begin_effect", op, ref, name, EFFECTS_PER_TASK, "run" if again else "fail")
        word, detail, *_ = [*(answer[1:] if answer[0] == "OK" else answer), ""]
        return word, detail

    async def confirm_effect(self, op: str, ref: str, name: str, result_json: str) -> str:
        """Records that it happened, with its result. Answers `OK`, `STALE`, `TERMINAL`, or `CONFIRMED` where another operation did so."""
        return (await self._call("confirm_effect", op, ref, name, result_json))[0]

    async def append_log(self, run_id: str, pod_id: str, batches: Sequence[Batch], caps: LogCaps) -> list[str]:
        """Stores lines of attempts of a run, one batch an attempt. Answers a word for each: `OK`; `STALE` where storage knows no such
        attempt, or `FULL` where the run has too many, and then the lines are gone. An empty list where there is no such run (any more)."""
        args: list[Argument] = [run_id, pod_id, caps.lines, caps.size, caps.run_size]
        for batch in batches:
            args += batch.arguments()
        answer = await self._call("append_log", *args)
        return answer[1] if answer[0] == "OK" else []

    async def wait_inbox(self, pod_id: str, seconds: float) -> list[str]:
        """Waits for messages to this pod: `ready`, or `stop <run id>`. An empty list after `seconds` without any."""
        with translated(self._address):
            first = await cast("Awaitable[list[str] | None]", self._inbox.blpop([self.keys.inbox(pod_id)], timeout=seconds))
            if first is None:
                return []
            more = await cast("Awaitable[list[str] | None]", self._inbox.lpop(self.keys.inbox(pod_id), 1000))
            return [first[1], *(more or [])]

    async def load_graphs(self, run_ids: Iterable[str], *, strict: bool = True) -> dict[str, RunGraph]:
        """Graphs of runs, from the cache or the server; a run that does not exist (any more) is left out.

        Raises StorageCorrupt for a definition that this version does not understand, as a newer one may write it; without `strict` such a
        run is left out too.
        """
        found: dict[str, RunGraph] = {}
        missing: list[str] = []
        for run_id in set(run_ids):
            graph = self.graphs.get(run_id)
            if graph is None:
                missing.append(run_id)
            else:
                found[run_id] = graph
        if missing:
            packeds = await self._fetch(missing)
            traces = await self._fetch_traces(missing) if self.reads_traces else [""] * len(missing)
            for run_id, packed, trace in zip(missing, packeds, traces, strict=True):
                try:
                    if packed:
                        found[run_id] = self.graphs.put(run_id, packed, self.graphs.known(packed) or await _compile(packed), trace=trace)
                except StorageCorrupt as error:
                    if strict:
                        raise StorageCorrupt(f"the definition of run {run_id}: {error.what}") from error
        return found

    async def _fetch(self, run_ids: list[str]) -> list[bytes]:
        with translated(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for run_id in run_ids:
                pipeline.execute_command("LRANGE", self.keys.graph(run_id), 0, -1, NEVER_DECODE=True)  # pyright: ignore[reportUnknownMemberType]
            rows = cast("list[list[bytes]]", await pipeline.execute())
        return [b"".join(row) for row in rows]

    async def _fetch_traces(self, run_ids: list[str]) -> list[str]:
        with translated(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for run_id in run_ids:
                pipeline.hget(self.keys.run(run_id), "trace")
            return [trace or "" for trace in cast("list[str | None]", await pipeline.execute())]


async def _compile(packed: bytes) -> RunGraph:
    if len(packed) < COMPILE_INLINE_BYTES:
        return unpack(packed)
    return await asyncio.to_thread(unpack, packed)


def _settled(answer: Answer) -> Settled:
    if answer[0] == "UNREGISTERED" and len(answer) == 1:
        return Settled([], [], cascades=False, registered=False)
    claims = [Claim.parse(text) for text in answer[2]]
    return Settled(answer[1], claims, bool(answer[3]), registered=answer[0] == "OK", lanes_left=answer[5] if len(answer) > 5 else 0)
