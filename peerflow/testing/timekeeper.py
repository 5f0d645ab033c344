"""A cluster's time: it passes when nothing else can happen, and the whole way to the next thing that time alone brings about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from peerflow.testing.pods import ClusterPod
from storage.views import RunView

if TYPE_CHECKING:
    from peerflow.testing.cluster import Cluster

STEP_TTLS = 0.45
"""How far time passes between two heartbeats of a living pod: deadlines are never in doubt."""
JUMP_TTLS = 8.0
"""A longer way is a jump; where a pod is down, the last TTLs are walked, so that its leases end and are noticed."""
WALKED_TTLS = 3.0
POLL_SECONDS = 0.002
QUIET_LOOKS = 3
"""So many looks in a row that find nobody busy and no new call mean that nothing happens by itself."""
PATIENCE_SECONDS = 0.05
"""With ready tasks and idle pods: a wake-up may be on its way on a slow machine. Then time passes, and they look for themselves."""
LIMBO_SECONDS = 120.0
"""Of virtual time, in which every pod has looked at everything: a run that nothing has moved by then, nothing will move."""
BEAT_SECONDS = 5.0
FORGOTTEN_SECONDS = 300.0
"""After such a jump the server may not know its last answers any more."""


class Timekeeper:
    """Passes virtual time. The scripts' clock is the server's and the offset in the partition; pods' own clocks have the same offset."""

    def __init__(self, cluster: Cluster, *, ttl_seconds: float, virtual: bool) -> None:
        self._cluster, self.ttl_seconds, self._virtual = cluster, ttl_seconds, virtual
        self._offset_seconds = 0.0
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        """Monotonic seconds, and what has passed virtually."""
        return time.monotonic() + self._offset_seconds

    def thaw_later(self, pod: ClusterPod, ttls: float) -> None:
        """A pod has frozen itself, for so many TTLs."""
        self.later(pod.thaw, ttls)

    def later(self, action: Callable[[], object], ttls: float) -> None:
        """Does something once so many TTLs have passed; never, where the cluster settles before."""
        with self._lock:
            self._later.append((self.clock() + ttls * self.ttl_seconds, action))

    def jump(self, seconds: float) -> None:
        """The clock is set; leases end where they end by then. Pods notice with their next heartbeat, which they send now."""
        if not self._virtual:
            raise ValueError("the cluster was made with virtual_time=False: its clock cannot be set")
        self._cluster.backstage.advance(round(seconds * 1000))
        if seconds > FORGOTTEN_SECONDS:
            self._cluster.trace.forget_answers()
        self._offset_seconds += max(0.0, seconds)
        self._beat()

    def advance(self, seconds: float) -> None:
        """Time passes, in steps between which living pods beat; a long way is a jump, which they survive as they do any."""
        if not self._virtual:
            self._sleep(seconds)
            return
        left = seconds
        if left > JUMP_TTLS * self.ttl_seconds:
            walked = WALKED_TTLS * self.ttl_seconds if self._somebody_is_down() else 0.0
            self.jump(left - walked)
            self._do_what_is_due()
            left = walked
        while left > 0:
            step = min(left, STEP_TTLS * self.ttl_seconds)
            left -= step
            self.jump(step)
            self._do_what_is_due()

    def wait(self, run_id: str, within_seconds: float, meanwhile: Callable[[], object] | None = None) -> RunView:
        """See Cluster.wait."""
        deadline = time.monotonic() + within_seconds
        limbo_at: float | None = None
        while not (run := self._cluster.status(run_id)).state.terminal:
            if time.monotonic() > deadline:
                raise self._failure(f"run {run_id} did not end within {within_seconds:g} s: {_counted(run)}")
            if meanwhile is not None:
                meanwhile()
            if not self._virtual:
                self._do_what_is_due()
                time.sleep(POLL_SECONDS)
            elif not self._quiet():
                # Calls alone are no news: pods look around whenever time passes.
                limbo_at = None if any(pod.pod.held for pod in self._cluster.living) else limbo_at
            elif self._pass_time(run_id):
                limbo_at = None
            elif limbo_at is None:
                limbo_at = self.clock() + LIMBO_SECONDS
            elif self.clock() > limbo_at:
                raise self._failure(f"run {run_id} is in limbo, nothing will move it: {_counted(run)}")
        return run

    def settle(self, within_seconds: float) -> None:
        """See Cluster.settle."""
        with self._lock:
            self._later.clear()
        for pod in self._cluster.pods:
            if not pod.stopped and not pod.gate.dead:
                pod.thaw()
                if pod.gate.cut:
                    pod.reconnect()
        self._beat()
        deadline = time.monotonic() + within_seconds
        # A request that stands still with its pod is old when it goes on: it must not change anything after all else has ended.
        while any(pod.asked for pod in self._cluster.living) or not self._still(self._cluster.living):
            if time.monotonic() > deadline:
                raise self._failure(f"pods have not come to rest within {within_seconds} s")

    def _pass_time(self, run_id: str) -> bool:
        """Time passes until something may happen by it. False where nothing of this run is due, now or ever."""
        glimpse = self._cluster.backstage.glimpse()
        due = glimpse.next_timer_of(run_id)
        held = any(glimpse.claims.values())
        # What is due and does not happen waits for a pod that stands still: until it thaws, time passes as ever.
        if due is not None and due >= glimpse.now_ms and not held and not glimpse.ready:
            self.advance((due - glimpse.now_ms + 1) / 1000)
        else:
            self.advance(STEP_TTLS * self.ttl_seconds)
        return due is not None or held

    def _quiet(self) -> bool:
        """True where nothing will happen unless time passes."""
        living = self._cluster.living
        if not self._still(living):
            return False
        if living and self._cluster.backstage.glimpse().ready:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                if not self._still(living):
                    return False
        return True

    def _still(self, pods: list[ClusterPod]) -> bool:
        """True where these pods hold nothing, wait for nothing, and have sent nothing for a few looks."""
        sent = -1
        for _ in range(QUIET_LOOKS):
            now = sum(self._cluster.trace.numbers[pod.name, "*"] for pod in pods)
            if (sent >= 0 and now != sent) or not all(pod.idle for pod in pods):
                time.sleep(POLL_SECONDS)
                return False
            sent = now
            time.sleep(POLL_SECONDS)
        return True

    def _beat(self) -> None:
        """Every living pod beats, and then looks at everything."""
        before = {pod: pod.pod.last_beat for pod in self._cluster.living}
        for pod in before:
            pod.poke()
        deadline = time.monotonic() + BEAT_SECONDS
        for pod, last in before.items():
            while pod.lives and pod.pod.last_beat == last and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS / 4)
            pod.look()

    def _somebody_is_down(self) -> bool:
        """True where leases or deadlines of pods that do not live are to end, and to be noticed."""
        living = {pod.pod_id for pod in self._cluster.living}
        return not self._cluster.backstage.glimpse().deadlines.keys() <= living

    def _do_what_is_due(self) -> None:
        now = self.clock()
        with self._lock:
            due = [action for at, action in self._later if at <= now]
            self._later = [(at, action) for at, action in self._later if at > now]
        for action in due:
            action()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._do_what_is_due()
            time.sleep(min(left, 0.01))

    def _failure(self, what: str) -> AssertionError:
        pods = ", ".join(f"{pod.name} {pod.state}" for pod in self._cluster.pods if not pod.stopped)
        glimpse = self._cluster.backstage.glimpse()
        return AssertionError(f"{what}\npods: {pods}\nserver: {glimpse}\nplan: {self._cluster.plan}\ncalls:\n{self._cluster.trace.story()}")


def _counted(run: RunView) -> str:
    return ", ".join(f"{count} {state}" for state, count in run.counts.items() if count)
