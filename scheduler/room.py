"""Places under one bound, shared by partitions: those taken, those reserved by a claim call under way, and who waits for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Room:
    """A pod's slots, or its child processes. Everything here happens in the event loop's thread."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._taken = 0
        self._taken_by: Counter[int] = Counter()
        self._reserved = 0
        self._hungry: set[int] = set()
        self._calls: dict[int, Callable[[], None]] = {}

    def take(self, partition: int) -> None:
        """An attempt of this partition is in a place from now on."""
        self._taken += 1
        self._taken_by[partition] += 1

    def vacate(self, partition: int) -> None:
        """An attempt of this partition has left its place."""
        self._taken -= 1
        self._taken_by[partition] -= 1

    @property
    def taken(self) -> int:
        """Places that an attempt is in."""
        return self._taken

    def free(self) -> int:
        """Places that no attempt is in and no call has reserved."""
        return max(0, self.capacity - self._taken - self._reserved)

    def has_room(self, partition: int) -> bool:
        """True where a partition may claim; one that may not is hungry, and called as soon as it may."""
        if self._room(partition):
            return True
        self._hungry.add(partition)
        return False

    def reserve(self, partition: int, most: int) -> int:
        """Takes up to `most` free places for a claim call that is under way; `settle` gives them back when the call is answered."""
        reserved = min(most, self._room(partition))
        if reserved:
            self._hungry.discard(partition)
        self._reserved += reserved
        return reserved

    def settle(self, reserved: int) -> None:
        """Ends a reservation; what was claimed has taken its places before."""
        self._reserved -= reserved

    def call_when_fed(self, partition: int, call: Callable[[], None]) -> None:
        """`call` is for a hungry partition that may claim again."""
        self._calls[partition] = call

    def feed(self) -> None:
        """Calls hungry partitions for which there is room by now. They stay hungry until they have reserved it."""
        if self._hungry and self.free():
            for partition in [hungry for hungry in self._hungry if self._room(hungry)]:
                self._calls[partition]()

    def _room(self, partition: int) -> int:
        """Free places; where other partitions are hungry, no more than what is left of this one's equal share."""
        others = len(self._hungry) - (partition in self._hungry)
        if not others:
            return self.free()
        share = max(1, self.capacity // (others + 1))
        return max(0, min(self.free(), share - self._taken_by[partition]))
