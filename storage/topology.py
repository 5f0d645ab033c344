"""Which server is the primary of a key at this moment: asked of those who know, and never believed for long.

Sentinels, or the nodes of a cluster, are asked for each new connection. While calls are made they are asked once a second besides: a pod
that still has a connection to a primary that was replaced behind its back, as one that was frozen or cut off is, leaves it, instead of
writing what nobody will ever see.

A look happens in whatever thread needs its answer, one at a time: the heartbeat's own, or `looker` for the event loop, which must not wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakSet

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from storage.server_url import Address, shown_address

FRESH_SECONDS = 0.1
"""Many connections that are opened at once share one look."""
LOOK_SECONDS = 1.0
"""How old an answer may be while calls are made."""
LAST_SLOT = 16_383


@dataclass(frozen=True, slots=True)
class Told:
    """What one node says. The higher epoch is the later truth: each failover raises it, by a majority's vote."""

    epoch: int
    primaries: tuple[tuple[int, int, Address], ...]
    """First slot, last slot, and who serves them; without a cluster one server serves all."""
    nodes: tuple[Address, ...] = ()
    """Others who can be asked."""


class Source(Protocol):
    """Those who know."""

    seeds: tuple[Address, ...]
    checks_role: bool
    """Whether a new connection has to make sure itself that it has reached a primary. A cluster's nodes refuse keys that are not theirs."""

    def ask(self, node: Address) -> Told | None:
        """Raises RedisError or OSError where the node does not answer; None where it knows nothing."""
        ...

    def close(self) -> None: ...


class Leaver(Protocol):
    """A connection that leaves a server which is no primary any more."""

    def leave_if_moved(self) -> None: ...


@dataclass(slots=True)
class _Known:
    """What is known; replaced as a whole, so that readers need no lock."""

    told: Told | None = None
    moved: dict[int, tuple[Address, float]] = field(default_factory=dict[int, tuple[Address, float]])
    """Slots of which a node has said just now where they are, and when: others may not have heard of it yet."""


class Topology:
    """What `source` says. Thread-safe."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.looker = ThreadPoolExecutor(1, "peerflow-topology")
        self._nodes: tuple[Address, ...] = source.seeds
        """Those who answered last time come first."""
        self._known = _Known()
        self._looking = threading.Lock()
        self._looked_at = self._looked_for = float("-inf")
        self._leavers: WeakSet[Leaver] = WeakSet()
        self._leaving = threading.Lock()
        self._closed = False
        self._error = ""
        """What kept one of them from answering, at last."""

    def primary_of(self, slot: int) -> Address | None:
        """Who serves a slot, as far as is known."""
        known = self._known
        if known.moved and slot in known.moved:
            return known.moved[slot][0]
        return next((server for first, last, server in known.told.primaries if first <= slot <= last), None) if known.told else None

    def servers(self) -> list[tuple[Address, int]]:
        """Every primary, and a slot of it."""
        told = self._known.told
        return list({server: first for first, _, server in told.primaries}.items()) if told else []

    def find(self, slot: int) -> Address:
        """Who serves a slot, for a new connection: blocks, and raises redis-py's ConnectionError where nobody is known to."""
        self.look(FRESH_SECONDS)
        found = self.primary_of(slot)
        if found is None:
            asked = ", ".join(map(shown_address, self.source.seeds))
            what = "a primary" if self.source.checks_role else f"a primary of slot {slot}"
            raise RedisConnectionError(f"none of {asked} names {what}{f': {self._error}' if self._error else ''}")
        return found

    def look(self, newer_than_seconds: float) -> None:
        """Asks, unless somebody has done so within that time. Blocks."""
        with self._looking:
            if self._closed or time.monotonic() - self._looked_at < newer_than_seconds:
                return
            before, best = self._known.told, self._ask()
            self._looked_at = now = time.monotonic()
            if best is not None:
                self._known = _Known(best, {slot: said for slot, said in self._known.moved.items() if now - said[1] < LOOK_SECONDS})
        if before is not None and best is not None and best.primaries != before.primaries:
            self._tell_leavers()

    def keep_fresh(self) -> None:
        """Looks in the background where what is known is old; costs a comparison otherwise."""
        now = time.monotonic()
        if now - self._looked_for > LOOK_SECONDS and now - self._looked_at > LOOK_SECONDS and not self._closed:
            self._looked_for = now
            self.looker.submit(self.look, FRESH_SECONDS)

    def doubt(self) -> None:
        """A server does not behave as a primary: whoever connects next asks."""
        self._looked_at = float("-inf")

    def learn(self, slot: int, server: Address) -> None:
        """A node has said that another one serves the slot."""
        known = self._known
        self._known = _Known(known.told, {**known.moved, slot: (server, time.monotonic())})
        self._tell_leavers()

    def watch(self, leaver: Leaver) -> None:
        """Calls `leave_if_moved` in the thread that learns of another primary."""
        with self._leaving:
            self._leavers.add(leaver)

    def close(self) -> None:
        """Asks nobody any more."""
        self._closed = True
        self.looker.shutdown(wait=False, cancel_futures=True)
        with self._looking:
            self.source.close()

    def _tell_leavers(self) -> None:
        with self._leaving:
            leavers = list(self._leavers)
        for leaver in leavers:
            leaver.leave_if_moved()

    def _ask(self) -> Told | None:
        """The latest truth that can be had: of a majority of the nodes, or of those that answer. None where that is nothing new."""
        answers: dict[Address, Told] = {}
        self._error = ""
        enough = len(self._nodes) // 2 + 1
        for node in self._nodes:
            told = self._ask_one(node)
            if told is not None:
                answers[node] = told
            if len(answers) == enough:
                break
        best = max(answers.values(), key=lambda told: told.epoch, default=None)
        known = self._known.told
        if best is None or (known is not None and best.epoch < known.epoch and len(answers) < enough):
            # A minority that has not heard of the last failover.
            return None
        self._nodes = tuple(_each_once((*answers, *best.nodes, *self.source.seeds)))
        return best

    def _ask_one(self, node: Address) -> Told | None:
        try:
            return self.source.ask(node)
        except (RedisError, OSError) as error:
            self._error = str(error)
            return None


@dataclass(frozen=True, slots=True)
class Route:
    """The way to the primary of one slot."""

    topology: Topology
    slot: int = 0

    def find(self) -> Address:
        return self.topology.find(self.slot)

    def leads_elsewhere(self, server: Address) -> bool:
        """True where a connection to `server` must not be used any more."""
        known = self.topology.primary_of(self.slot)
        return known is not None and known != server


def _each_once(nodes: Sequence[Address]) -> Iterator[Address]:
    return iter(dict.fromkeys(nodes))
