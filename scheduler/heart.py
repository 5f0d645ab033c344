"""Keeps the pod's leases, in a thread that neither the event loop nor user code can block.

Each beat is one call for each partition, on a connection of its own with a time limit of a third of the TTL: a server that takes nearly
as long costs no lease, and after one that has not answered there is time for a new connection. A pod with claims beats every third of
the TTL, an idle one every half. Code that holds the interpreter's lock for longer than the TTL does stop the thread: that is what
`executor="process"` is for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from engine.errors import StorageError
from engine.events import HeartbeatLate, LoopFailed, Publisher, StorageBack, StorageLost
from engine.observer import Observer
from storage.heartbeats import HeartbeatConnection, Pulse
from storage.partition import Identity

RETRY_SECONDS = 0.25
"""Between two beats that failed: several fit into what is left of a lease."""
DESCRIBE_TTLS = 4
"""How often the pod says again what it is: storage keeps that for 12 TTLs."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a pod says of itself: the parts as `heartbeat` takes them."""

    capabilities: str
    text: str
    others: tuple[tuple[Identity, str], ...] = ()
    """Further sets of capabilities that the pod claims by."""


class Heart(threading.Thread):
    """The heartbeat thread. `on_pulse(partition, pulse)` and `on_back(seconds)`, when Redis has been away so long, are called in it."""

    def __init__(
        self,
        connections: Sequence[HeartbeatConnection],
        who: Identity,
        *,
        address: str,
        refs: Callable[[int], list[str]],
        describe: Callable[[], Description],
        on_pulse: Callable[[int, Pulse], None],
        on_back: Callable[[float], None],
        unheard_seconds: float,
        retry_seconds: float = RETRY_SECONDS,
        publisher: Publisher,
        observer: Observer,
        apart: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`apart`: partitions are on several servers, and one that is away must not cost the leases in the others."""
        super().__init__(name="peerflow-heartbeat", daemon=True)
        self._connections, self._who, self._address = connections, who, address
        self._refs, self._describe, self._on_pulse, self._on_back = refs, describe, on_pulse, on_back
        self._unheard_ms, self._retry_seconds = int(unheard_seconds * 1000), retry_seconds
        self._clock = clock
        self._publisher, self._observer = publisher, observer
        self._ttl_seconds = who.ttl_ms / 1000
        self._server_clocks: list[tuple[int, float] | None] = [None] * len(connections)
        """The server's time in ms as each partition last told it, and when that was heard: monotonic seconds."""
        self._described = float("-inf")
        self._wake = threading.Event()
        self._stopping = False
        self.last_ok: float | None = None
        """When all partitions last answered, by `clock`; None before the first time."""
        self.last_heard: float | None = None
        """When some partition last answered: later than that where servers are several and not all of them answer."""
        self.failing = False
        """True while no partition answers; of one server, while any does not."""
        self._failing_since: float | None = None
        self._threads = ThreadPoolExecutor(len(connections), self.name) if apart else None

    def beat_now(self, *, describe: bool = False) -> None:
        """Asks for a beat at once; with `describe`, one that says what the pod is."""
        if describe:
            self._described = float("-inf")
        self._wake.set()

    def stop(self) -> None:
        """Ends the thread after the beat that is under way."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        planned = self._clock()
        while not self._stopping:
            started = self._clock()
            ok = self.run_once()
            held = any(self._refs(number) for number in range(len(self._connections)))
            pause = (self._ttl_seconds / (3 if held else 2)) if ok else self._retry_seconds
            took = self._clock() - started
            self._observer.beaten(max(0.0, started - planned), took)
            if took > self._ttl_seconds / 2:
                self._publisher.publish(HeartbeatLate(pod_id=self._who.pod_id, duration_seconds=took, lease_ttl_seconds=self._ttl_seconds))
            planned = self._pause(started, pause)
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        for connection in self._connections:
            connection.disconnect()

    def _pause(self, started: float, seconds: float) -> float:
        """Waits; an idle pod that gets claims meanwhile goes over to the shorter interval. Answers when the next beat should begin."""
        until = started + seconds
        busy_until = started + min(seconds, self._ttl_seconds / 3)
        while not self._stopping and (now := self._clock()) < until:
            following = busy_until if now < busy_until else until
            if self._wake.wait(max(0.0, following - now)):
                until = min(following, self._clock())
                break
            if any(self._refs(number) for number in range(len(self._connections))):
                until = following
                break
        self._wake.clear()
        return until

    def run_once(self) -> bool:
        """Beats once in each partition. Answers whether all of them took it."""
        now = self._clock()
        describe = now - self._described > DESCRIBE_TTLS * self._ttl_seconds
        numbers = range(len(self._connections))
        if self._threads is None:
            # Made one by one, and none after one that fails: the same server would not answer the others either.
            errors: Iterable[str] = (self._try(number, describe=describe) for number in numbers)
        else:
            errors = list(self._threads.map(partial(self._try, describe=describe), numbers))
        error = next(filter(None, errors), "")
        if error:
            self.failing = self._threads is None or all(errors)
            if not self.failing:
                self.last_heard = self._clock()
            self._failed(error)
            return False
        if describe:
            self._described = now
        self._succeeded()
        return True

    def _try(self, number: int, *, describe: bool) -> str:
        """Beats in one partition. Answers what went wrong, or nothing."""
        try:
            self._beat(number, self._describe() if describe else Description("", ""))
        except StorageError as error:
            self._connections[number].disconnect()
            return str(error)
        except Exception as error:  # noqa: BLE001  # a heart that stops over a surprise would cost the pod everything it runs
            self._connections[number].disconnect()
            self._publisher.publish(LoopFailed(pod_id=self._who.pod_id, loop="heartbeat", error=repr(error), traceback=""))
            return repr(error)
        return ""

    def _beat(self, number: int, said: Description) -> None:
        # Asked for before the list is taken: only claims well before this instant can be missing from the list.
        before_ms = self._unheard_before_ms(number, self._clock())
        pulse = self._connections[number].beat(
            self._who, self._refs(number), unheard_before_ms=before_ms, capabilities=said.capabilities, description=said.text
        )
        self._server_clocks[number] = (pulse.now_ms, self._clock())
        for identity, capabilities in said.others:
            self._connections[number].beat(identity, [], capabilities=capabilities)
        self._on_pulse(number, pulse)

    def _unheard_before_ms(self, number: int, now: float) -> int:
        """Claims older than this, by the server's clock, were never received if the pod does not list them; 0 while that is not known.

        The server's clock is carried on by ours: where beats arrive and answers do not, claims that never did must not stay here.
        """
        clock = self._server_clocks[number]
        return 0 if clock is None else max(0, clock[0] + int((now - clock[1]) * 1000) - self._unheard_ms)

    def _failed(self, error: str) -> None:
        if self._threads is None:
            for connection in self._connections:
                connection.disconnect()
        if self._failing_since is None:
            self._failing_since = self._clock()
            self._publisher.publish(StorageLost(pod_id=self._who.pod_id, address=self._address, error=error))

    def _succeeded(self) -> None:
        heard, self.last_ok = self.last_ok, self._clock()
        self.last_heard, self.failing = self.last_ok, False
        if self._failing_since is not None:
            away = self.last_ok - self._failing_since
            # It may have been away since the last beat, unless this pod itself was held up for so long that this says nothing.
            silent = 0.0 if heard is None else self._failing_since - heard
            self._failing_since = None
            self._on_back(away + (silent if silent <= self._ttl_seconds else 0.0))
            self._publisher.publish(StorageBack(pod_id=self._who.pod_id, address=self._address, duration_seconds=away))
