"""What this pod holds: its claims from the reply that brought them to the reply that settles them.

Written by the event loop, read by the heartbeat thread: single dict operations, and `list(dict.values())`, are atomic in CPython.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from engine.observer import End
from scheduler.attempt import Attempt
from scheduler.room import Room
from storage.graphs import RunGraph
from storage.partition import Claim


@dataclass(slots=True)
class Held:
    """A claim, and what the pod knows about its task once the run's graph is there."""

    claim: Claim
    partition: int
    process: bool = False
    """True where the attempt needs a child process."""
    graph: RunGraph | None = None
    attempt: Attempt | None = None
    started: float = 0.0
    """When the attempt was given to the executor: monotonic seconds."""
    seconds: float = 0.0
    """From there to its end."""
    end: End = End.RELEASED
    """How it ended; what storage says of the commit decides whether it counts."""

    @property
    def function(self) -> str:
        """The task function's name."""
        return self.attempt.function if self.attempt else self.claim.lane.partition("/")[2]


class Holdings:
    """All claims of this pod, by claim id, and the places that their attempts are in.

    An attempt that has ended is in no place any more, though its claim is held until the commit is answered.
    """

    def __init__(self, concurrency: int, processes: int) -> None:
        self.slots = Room(concurrency)
        self.processes = Room(processes)
        """For functions with `executor="process"`; each of them is in a slot too."""
        self._held: dict[str, Held] = {}
        self._ended: set[str] = set()
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

    def has_room(self, partition: int, *, process: bool) -> bool:
        """True where a partition may claim; one that may not is called as soon as it may."""
        return self.slots.has_room(partition) and (not process or self.processes.has_room(partition))

    def reserve(self, partition: int, most: int, *, process: bool) -> int:
        """Takes up to `most` places for a claim call that is under way; `settle` gives back what it did not fill."""
        reserved = self.slots.reserve(partition, most)
        if process:
            slots, reserved = reserved, self.processes.reserve(partition, reserved)
            self.slots.settle(slots - reserved)
        return reserved

    def settle(self, reserved: int, *, process: bool) -> None:
        """Ends a reservation; what was claimed has been added before."""
        self.slots.settle(reserved)
        if process:
            self.processes.settle(reserved)

    def feed(self) -> None:
        """Calls partitions that wait for a place where there is one by now."""
        self.slots.feed()
        self.processes.feed()

    def add(self, held: Held) -> None:
        self._held[held.claim.claim_id] = held
        self.slots.take(held.partition)
        if held.process:
            self.processes.take(held.partition)
        self._empty.clear()

    def end(self, claim_id: str) -> None:
        """The attempt has ended, its commit is on the way."""
        held = self._held.get(claim_id)
        if held is not None and claim_id not in self._ended:
            self._ended.add(claim_id)
            self._vacate(held)

    def has_ended(self, claim_id: str) -> bool:
        """True where the attempt has ended and its commit, which will say what became of it, is on the way."""
        return claim_id in self._ended

    def drop(self, claim_id: str) -> Held | None:
        """The claim is settled, lost or given back."""
        dropped = self._held.pop(claim_id, None)
        if dropped is not None and claim_id not in self._ended:
            self._vacate(dropped)
        self._ended.discard(claim_id)
        if not self._held:
            self._empty.set()
        return dropped

    def _vacate(self, held: Held) -> None:
        self.slots.vacate(held.partition)
        if held.process:
            self.processes.vacate(held.partition)

    def refs(self, partition: int) -> list[str]:
        """References of all claims in a partition; may be called from any thread."""
        return [held.claim.ref for held in list(self._held.values()) if held.partition == partition]

    def of_run(self, run_id: str) -> list[Held]:
        """Claims of a run whose attempts still run, or have not started."""
        return [held for held in self.unended() if held.claim.run_id == run_id]

    def unended(self) -> list[Held]:
        """Claims whose attempts still run, or have not started."""
        return [held for claim_id, held in self._held.items() if claim_id not in self._ended]
