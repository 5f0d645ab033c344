"""Breaks things at random, as the seed says, and mends them again: what, whom and for how long; when exactly, the machine decides."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.chaos.campaign.arena import Arena, Place
from tests.support.proxy import Cut, Delay, Direction

Action = Callable[[], None]
DIRECTIONS: list[tuple[Direction, ...]] = [(), ("to_server",), ("to_client",)]


class Nemesis:
    """One round's faults. `step` makes one, and mends what is due."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self._arena, self._random = arena, random.Random(seed)
        self._mends: list[tuple[float, Action]] = []
        self._actions: list[tuple[int, Action]] = [
            (4, self.kill),
            (3, self.freeze),
            (3, self.cut_off),
            (2, self.lose_calls),
            (2, self.slow_down),
            (3, self.stop),
            (1, self.roll),
            (1, self.kill_redis),
            (1, self.freeze_redis),
        ]

    def step(self) -> float:
        """Answers how many seconds to wait before the next one."""
        self.mend()
        weights, actions = zip(*self._actions, strict=True)
        self._random.choices(actions, weights)[0]()
        return self._random.uniform(0.2, 1.0) * self._arena.ttl_seconds

    def mend(self, *, everything: bool = False) -> None:
        """Ends faults whose time is over."""
        due = [mend for mend in self._mends if everything or mend[0] <= time.monotonic()]
        for mend in due:
            self._mends.remove(mend)
            mend[1]()

    def _later(self, least: float, most: float, mend: Action) -> float:
        """Plans the mending after so many lease times. Answers the seconds."""
        seconds = self._random.uniform(least, most) * self._arena.ttl_seconds
        self._mends.append((time.monotonic() + seconds, mend))
        return seconds

    def _place(self) -> Place:
        """One at random, once its pod has said who it is: a fault must be noted under the name of whom it met."""
        place = self._random.choice(self._arena.places)
        deadline = time.monotonic() + 5
        while not place.pod_id and time.monotonic() < deadline:
            self.mend()
            time.sleep(0.05)
        return place

    def _note(self, kind: str, place: Place | None = None, **facts: float) -> None:
        if place is None:
            self._arena.history.fault(kind, **facts)
        else:
            self._arena.history.fault(kind, pod_id=place.pod_id, **facts)

    def kill(self) -> None:
        place = self._place()
        pod_id = place.pod_id
        place.pod.process.kill()
        self._arena.history.fault("kill -9", pod_id=pod_id)
        place.pod.process.wait()
        place.replace()

    def freeze(self) -> None:
        place = self._place()
        pod = place.pod
        self._note("freeze", place, seconds=self._later(0.3, 2.5, pod.thaw))
        pod.freeze()

    def cut_off(self) -> None:
        place, directions = self._place(), self._random.choice(DIRECTIONS)
        self._note("cut off", place, seconds=self._later(0.3, 2.5, place.proxy.heal))
        place.proxy.hold(*directions)

    def lose_calls(self) -> None:
        place = self._place()
        self._note("calls lost", place, seconds=self._later(0.5, 2.0, place.proxy.heal))
        for when in ("before", "after"):
            place.proxy.on(None, Cut(when), times=None, chance=0.05)

    def slow_down(self) -> None:
        place = self._place()
        self._note("Redis slow", place, seconds=self._later(0.5, 2.0, place.proxy.heal))
        place.proxy.on(None, Delay(0.02, self._random.uniform(0.0, 0.1) * self._arena.ttl_seconds), times=None)

    def stop(self) -> None:
        self._stop(self._place())

    def _stop(self, place: Place) -> None:
        self._note("SIGTERM", place, grace_seconds=place.grace_seconds)
        place.pod.process.send_signal(signal.SIGTERM)
        place.replace()

    def roll(self) -> None:
        """Replaces all pods; each next one goes when the one before is replaced by a pod that is ready, or had ten seconds for it."""
        self._note("rolling restart")
        for place in self._arena.places:
            self._stop(place)
            deadline = time.monotonic() + 10
            while not place.pod.is_ready() and time.monotonic() < deadline:
                time.sleep(0.05)
                self.mend()

    def kill_redis(self) -> None:
        if self._arena.redis.frozen:
            return
        self._note("Redis kill -9")
        self._arena.redis.kill()
        self._mends.append((time.monotonic() + self._random.uniform(0, 1.5) * self._arena.ttl_seconds, self._arena.redis.revive))

    def freeze_redis(self) -> None:
        if not self._arena.redis.alive:
            return
        self._note("Redis frozen", seconds=self._later(0.3, 2.0, self._arena.redis.thaw))
        self._arena.redis.freeze()
