"""Notes why ready tasks stay in the queue, for those who ask later: what events cannot tell.

Pods know of a backlog from the answers to their claims, so an idle system sends nothing for this; a pod without a free slot, which claims
nothing, looks from time to time. While tasks wait longer than a second, one pod looks at the lanes about once a second and writes down what
it sees; others that come by see that it was done. A pod need not be able to run a task itself to note that nobody is. A note begins when
its task became ready, so that it is none the worse for coming late.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from engine.errors import StorageRefused, StorageUnavailable
from engine.reasons import Reason
from storage.backlog import NOTES_PER_CALL, Backlog, Lanes
from storage.capacity import find_reason
from storage.explanation import EVERYWHERE
from storage.partition import Claim, Identity
from storage.store import Store
from storage.views import PodView

LOOK_SECONDS = 1.0
OLD_MS = 1_000
"""A task that has been ready for less waits for nothing in particular."""
NOTED_MS = 900
"""A lane that another pod has noted within this time need not be noted again."""
OTHERS_SECONDS = 3.0
"""Until a pod looks again that found another one at it."""
FULL_SECONDS = 5.0
"""Between two looks of a pod that has no slot left, and so does not claim."""
LONGEST_SECONDS = 8.0
"""Between two looks that find nothing to note, although tasks wait."""
ANSWERS_MS = 1_500
"""Pods that Redis has come back to are heard of sooner than this; one heard of earlier was never without it."""


class WaitNoter:
    """One partition's notes, as one pod makes them. Everything here happens in the event loop's thread."""

    def __init__(self, backlog: Backlog, store: Store, who: Identity, *, refused: Callable[[], bool], full: Callable[[], bool]) -> None:
        """`refused` tells whether the server takes no claims of this pod at present, `full` whether the pod has no free slot."""
        self._backlog, self._store, self._who, self._refused, self._full = backlog, store, who, refused, full
        self._changed, self._urgent = asyncio.Event(), asyncio.Event()
        self._away_seconds: float | None = None
        self._found: dict[str, int] = {}
        self._pause_seconds = LOOK_SECONDS

    def nudge(self) -> None:
        """There are ready tasks that this pod does not take, or the server takes no claims."""
        self._changed.set()

    def outage(self, seconds: float) -> None:
        """Redis has come back to this pod after so long."""
        self._away_seconds = max(seconds, self._away_seconds or 0.0)
        self._urgent.set()
        self._changed.set()

    def found_waiting(self, claims: Sequence[Claim]) -> None:
        """This pod's very first claims: perhaps they have waited for a pod like it."""
        for claim in claims:
            self._found[claim.lane] = min(claim.ready_at_ms, self._found.get(claim.lane, claim.ready_at_ms))
        if self._found:
            self._urgent.set()
            self._changed.set()

    async def run(self) -> None:
        while True:
            await self._wait()
            self._changed.clear()
            await self._rest(self._pause_seconds)
            try:
                if await self._heard_to_its_end(asyncio.ensure_future(self.run_once())):
                    self._changed.set()
            except (StorageUnavailable, StorageRefused):
                await asyncio.sleep(LOOK_SECONDS)
                self._changed.set()

    async def _rest(self, seconds: float) -> None:
        """Waits, unless there is something that cannot: an outage is noted as soon as it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._urgent.wait()

    @staticmethod
    async def _heard_to_its_end(look: asyncio.Future[bool]) -> bool:
        """Waits for a look. One that is under way when the pod stops is not cancelled: before Python 3.12 redis-py may lose a
        cancellation (its `wait_for`), and this loop would go on for ever. Time limits of its calls bound a look."""
        try:
            return await asyncio.shield(look)
        except asyncio.CancelledError:
            await asyncio.wait([look])
            if not look.cancelled():
                look.exception()
            raise

    async def _wait(self) -> None:
        while not self._changed.is_set():
            try:
                async with asyncio.timeout(FULL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                if self._full():
                    return

    async def run_once(self) -> bool:
        """Looks, and notes what there is to note. Answers whether tasks are still waiting: then it is to be called again."""
        lanes = await self._backlog.lanes()
        away, found = self._away_seconds, self._found
        self._away_seconds, self._found = None, {}
        self._urgent.clear()
        try:
            return await self._note(lanes, away, found)
        except BaseException:
            # To be noted all the same; what came in the meantime counts too.
            self._away_seconds = away if self._away_seconds is None else self._away_seconds
            self._found = found | self._found
            raise

    async def _note(self, lanes: Lanes, away: float | None, found: Mapping[str, int]) -> bool:
        refused = self._refused()
        old = {lane: since_ms for lane, since_ms in lanes.first_ready if lanes.now_ms - since_ms > OLD_MS}
        urgent = away is not None or bool(found) or refused
        noted = not urgent and await self._noted_by_others(lanes, list(old))
        notes: dict[str, tuple[Reason, int]] = {}
        if away is not None or found or (old and not noted):
            pods = await self._store.pods()
            others = [pod for pod in pods if pod.pod_id != self._who.pod_id]
            notes |= lane_notes(old, pods)
            # What this pod has found was as it was before it came.
            was_old = {lane: since_ms for lane, since_ms in found.items() if lanes.now_ms - since_ms > OLD_MS}
            notes |= {lane: note for lane, note in lane_notes(was_old, others).items() if note[0] is Reason.NO_CAPABLE_POD}
            if away is not None and _was_away(others, lanes.now_ms, int(away * 1000)):
                notes[EVERYWHERE] = Reason.STORAGE, lanes.now_ms - int(away * 1000)
        if refused:
            notes[EVERYWHERE] = Reason.REFUSED, lanes.now_ms
        if notes:
            last = [(lane, reason, since_ms) for lane, (reason, since_ms) in notes.items()][-NOTES_PER_CALL:]
            await self._backlog.note_waits(last, self._store.retention_seconds)
        self._pause(noted=noted, wrote=bool(notes) or not lanes.first_ready)
        return bool(lanes.first_ready) or refused

    def _pause(self, *, noted: bool, wrote: bool) -> None:
        if wrote:
            self._pause_seconds = LOOK_SECONDS
        elif noted:
            self._pause_seconds = OTHERS_SECONDS * (1 + random.random())
        else:
            self._pause_seconds = min(LONGEST_SECONDS, self._pause_seconds * (1 + random.random()))

    async def _noted_by_others(self, lanes: Lanes, old: Sequence[str]) -> bool:
        return bool(old) and lanes.now_ms - await self._backlog.noted_at_ms(old[:NOTES_PER_CALL]) < NOTED_MS


def lane_notes(lanes: Mapping[str, int], pods: Sequence[PodView]) -> dict[str, tuple[Reason, int]]:
    """Lane → why it is not emptied, and since which ms; of the first NOTES_PER_CALL lanes of which pods say something."""
    notes: dict[str, tuple[Reason, int]] = {}
    for lane, since_ms in lanes.items():
        queue, _, function = lane.partition("/")
        found = find_reason(function, queue, pods)
        if found.reason is not Reason.QUEUED:
            # As long as a pod that could was heard of, nothing was missing.
            gone_ms = max((pod.last_seen_at_ms for pod in found.pods if pod.state != "alive"), default=0)
            notes[lane] = found.reason, max(since_ms, gone_ms)
        if len(notes) == NOTES_PER_CALL:
            break
    return notes


def _was_away(others: Sequence[PodView], now_ms: int, away_ms: int) -> bool:
    """False where another pod was heard of in the meantime: then only this one was cut off."""
    return not any(now_ms - away_ms + ANSWERS_MS < pod.last_seen_at_ms < now_ms - ANSWERS_MS for pod in others)
