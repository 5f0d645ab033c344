"""What this pod holds: its claims from the reply that brought them to the reply that settles them.

Written by the event loop, read by the heartbeat thread: single dict operations, and `list(dict.values())`, are atomic in CPython.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.attempt import Attempt
from storage.graphs import RunGraph
from storage.partition import Claim


@dataclass(slots=True)
class Held:
    """A claim, and what the pod knows about its task once the run's graph is there."""

    claim: Claim
    partition: int
    graph: RunGraph | None = None
    attempt: Attempt | None = None
    started: float = 0.0
    """When the attempt was given to the executor: monotonic seconds."""


class Holdings:
    """All claims of this pod, by claim id, and the slots that they fill."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: dict[str, Held] = {}
        self._ended: set[str] = set()
        self._reserved = 0
        self._hungry: set[int] = set()
        self._calls: dict[int, Callable[[], None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def wait_until_empty(self) -> None:
        """Returns once every claim has been settled, lost or given back."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, claim_id: str) -> bool:
        return claim_id in self._held

    def get(self, claim_id: str) -> Held | None:
        return self._held.get(claim_id)

    def free(self) -> int:
        """Slots that no attempt is in: an attempt that has ended fills none, though its claim is held until the commit is answered."""
        return max(0, self.capacity - len(self._held) + len(self._ended) - self._reserved)

    def has_room(self, partition: int) -> bool:
        """True where a partition may claim; one that may not is hungry, and called as soon as it may."""
        if self._room(partition):
            return True
        self._hungry.add(partition)
        return False

    def reserve(self, partition: int, most: int) -> int:
        """Takes up to `most` free slots for a claim call that is under way; `settle` gives back what it did not fill."""
        taken = min(most, self._room(partition))
        if taken:
            self._hungry.discard(partition)
        self._reserved += taken
        return taken

    def _room(self, partition: int) -> int:
        """Free slots; where other partitions are hungry, no more than what is left of this one's equal share."""
        others = len(self._hungry) - (partition in self._hungry)
        if not others:
            return self.free()
        mine = sum(held.partition == partition for claim_id, held in self._held.items() if claim_id not in self._ended)
        return max(0, min(self.free(), max(1, self.capacity // (others + 1)) - mine))

    def call_when_fed(self, partition: int, call: Callable[[], None]) -> None:
        """`call` is for a hungry partition that may claim again."""
        self._calls[partition] = call

    def feed(self) -> None:
        """Calls hungry partitions for which there is room by now. They stay hungry until they have reserved it."""
        if self._hungry and self.free():
            for partition in [hungry for hungry in self._hungry if self._room(hungry)]:
                self._calls[partition]()

    def settle(self, reserved: int) -> None:
        """Ends a reservation; what was claimed has been added before."""
        self._reserved -= reserved

    def add(self, held: Held) -> None:
        self._held[held.claim.claim_id] = held
        self._empty.clear()

    def end(self, claim_id: str) -> None:
        """The attempt has ended, its commit is on the way."""
        if claim_id in self._held:
            self._ended.add(claim_id)

    def has_ended(self, claim_id: str) -> bool:
        """True where the attempt has ended and its commit, which will say what became of it, is on the way."""
        return claim_id in self._ended

    def drop(self, claim_id: str) -> Held | None:
        """The claim is settled, lost or given back."""
        self._ended.discard(claim_id)
        dropped = self._held.pop(claim_id, None)
        if not self._held:
            self._empty.set()
        return dropped

    def refs(self, partition: int) -> list[str]:
        """References of all claims in a partition; may be called from any thread."""
        return [held.claim.ref for held in list(self._held.values()) if held.partition == partition]

    def of_run(self, run_id: str) -> list[Held]:
        """Claims of a run whose attempts still run, or have not started."""
        return [held for held in self.unended() if held.claim.run_id == run_id]

    def unended(self) -> list[Held]:
        """Claims whose attempts still run, or have not started."""
        return [held for claim_id, held in self._held.items() if claim_id not in self._ended]
