"""Pods of this process on a real server: the same engine, the same scripts; only the clock and the faults are the test's.

with Cluster(pods=2, tasks=[shop]) as cluster:
    run_id = cluster.submit({"tasks": {"sum": {"task": "total", "args": {"amounts": [1, 2]}}}})
    cluster.pods[0].kill()
    assert cluster.wait(run_id).state == "succeeded"
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from engine.events import Event
from peerflow.testing.caller import POLL_SECONDS, Caller
from peerflow.testing.faults import FaultPlan
from peerflow.testing.functions import Tasks, registry_of
from peerflow.testing.history import History
from peerflow.testing.loops import LoopThread
from peerflow.testing.pods import ClusterPod, Surroundings
from peerflow.testing.timekeeper import Timekeeper
from peerflow.testing.trace import Call, Trace
from scheduler.identity import PodOptions
from storage.backstage import Backstage, shifted
from storage.embedded import EmbeddedValkey
from storage.gate import Rewrite, Rig, Scripts
from storage.store import Store
from storage.views import RunView

READY_SECONDS = 20.0


class Published:
    """Keeps the events that pods publish."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event, /) -> None:
        self.events.append(event)


class Cluster(Caller):
    """`pods` pods in a namespace of their own; closed, nothing of it is left, in the server or in this process.

    Time is virtual: leases have their usual length, and end when the cluster lets time pass (`advance`, `wait`). With
    `virtual_time=False` only real time passes; then choose a short TTL.
    """

    def __init__(
        self,
        pods: int = 1,
        tasks: Tasks = (),
        *,
        url: str | None = None,
        lease_ttl_seconds: float = 10.0,
        concurrency: int = 10,
        partitions: int = 1,
        retention_seconds: float = 3600.0,
        max_lost: int = 3,
        queues: tuple[str, ...] = ("default",),
        audit_after_seconds: float = 30.0,
        virtual_time: bool = True,
        plan: FaultPlan | None = None,
        rewrite: Rewrite | None = None,
    ) -> None:
        """`url` is a server's; without one an embedded server is started in a temporary folder. `plan` may be set anew at any time.

        `rewrite` changes scripts on their way to the server, to see whether tests notice.
        """
        self.history = History()
        self.trace = Trace()
        self.plan = plan or FaultPlan()
        self.published = Published()
        self.max_lost = max_lost
        self.pods: list[ClusterPod] = []
        self.met: list[Call] = []
        """Calls that met a fault."""
        self.before_call: Callable[[Call, Sequence[Any]], object] | None = None
        """Hears of each call of a pod that reaches the server, with the script's arguments, and may hold it up: the call is sent when it
        returns. It runs in that pod's thread, so it must not ask that pod for anything."""
        self._started = 0
        self.namespace = "sim" + secrets.token_hex(4)
        self._registry = registry_of(tasks, lambda: self.history)
        self._exits = ExitStack()
        self._lock = threading.Lock()
        try:
            url = url or self._start_server()
            self.backstage = Backstage(url, self.namespace, partitions)
            self._exits.callback(self.backstage.close)
            self._exits.callback(self.backstage.clear)
            rewrites = [rewrite] if rewrite else []
            scripts = Scripts(*rewrites, *([shifted] if virtual_time else []))
            self.time = Timekeeper(self, ttl_seconds=lease_ttl_seconds, virtual=virtual_time)
            self._around = Surroundings(
                url=url,
                namespace=self.namespace,
                partitions=partitions,
                retention_seconds=retention_seconds,
                scripts=scripts,
                registry=self._registry,
                options=PodOptions(
                    concurrency=concurrency,
                    queues=queues,
                    lease_ttl_seconds=lease_ttl_seconds,
                    max_lost=max_lost,
                    audit_after_seconds=audit_after_seconds,
                    leave_seconds=2.0,
                    beat_retry_seconds=min(0.25, lease_ttl_seconds / 6),
                ),
                publisher=self.published,
                clock=self.time.clock,
                trace=self.trace,
                plan=lambda: self.plan,
                sever=self._sever,
                on_pause=self.time.thaw_later,
                on_fault=self.met.append,
                on_call=self._on_call,
            )
            self._client = LoopThread("peerflow-client")
            self._exits.callback(self._client.close)
            self._store = self._client.run(self._open_store(Rig(scripts=scripts, client_name=f"{self.namespace}-client")))
            self._exits.callback(lambda: self._client.run(self._store.close()))
            self._exits.callback(self._stop_pods)
            for _ in range(pods):
                self.start_pod(wait=False)
            for pod in self.pods:
                self._wait_until_ready(pod)
        except BaseException:
            self._exits.close()
            raise

    def _start_server(self) -> str:
        folder = self._exits.enter_context(tempfile.TemporaryDirectory(prefix="peerflow-", ignore_cleanup_errors=True))
        member = EmbeddedValkey.join(Path(folder), linger_seconds=0.0)
        self._exits.callback(member.leave)
        return member.url

    async def _open_store(self, rig: Rig) -> Store:
        around = self._around
        store = Store(
            around.url, namespace=self.namespace, partitions=around.partitions, retention_seconds=around.retention_seconds, rig=rig
        )
        await store.prepare()
        return store

    def wait(self, run_id: str, within_seconds: float = 30.0, *, meanwhile: Callable[[], object] | None = None) -> RunView:
        """The run once it has ended. While nothing can happen but by time, time passes: to the next timer, or until dead pods' leases end.

        `within_seconds` of real time. `meanwhile` is called again and again, in this thread: it may break pods, and start new ones.
        Raises AssertionError, with the latest calls, where the run does not end, or nothing could end it.
        """
        return self.time.wait(run_id, within_seconds, meanwhile)

    def start_pod(self, *, wait: bool = True) -> ClusterPod:
        """One more pod, `p1`, `p2`, … in the order of their start."""
        self._started += 1
        pod = ClusterPod(f"p{self._started}", self._around)
        self.pods.append(pod)
        if wait:
            self._wait_until_ready(pod)
        return pod

    def bury(self, pod: ClusterPod) -> None:
        """Ends what a killed pod has left in this process, and takes it out of `pods`."""
        pod.stop()
        self.pods.remove(pod)

    def begin(self, plan: FaultPlan) -> None:
        """Counts calls from 1 again, with a new plan and a new history: for many disturbed runs on one cluster."""
        self.history = History()
        self.trace.reset_numbers()
        self.met.clear()
        self.before_call = None
        self.plan = plan

    @property
    def living(self) -> list[ClusterPod]:
        """Pods that reach the server."""
        return [pod for pod in self.pods if pod.lives]

    def cancel(self, run_id: str, reason: str = "the test says so", *, through: ClusterPod | None = None) -> str:
        """See Caller.cancel."""
        self.trace.cancelled.add(run_id)
        return super().cancel(run_id, reason, through=through)

    def advance(self, seconds: float) -> None:
        """Lets time pass: living pods go on beating meanwhile, the leases of others end, timers fire."""
        self.time.advance(seconds)

    def jump(self, seconds: float) -> None:
        """The server's clock is set forward, or back; nobody has beaten meanwhile."""
        self.time.jump(seconds)

    def settle(self, within_seconds: float = 10.0) -> None:
        """Frozen pods thaw, those cut off reconnect, and all get on with what they then find to do."""
        self.time.settle(within_seconds)

    def stop(self) -> None:
        """Drains and stops every pod, and closes the cluster; may be called again."""
        self._exits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self, pod: ClusterPod) -> None:
        deadline = time.monotonic() + READY_SECONDS
        # A fault may kill a pod, or hold it up, before it is ready.
        while not pod.ready and pod.lives:
            if time.monotonic() > deadline:
                raise AssertionError(f"{pod} is not ready: {pod.pod.readiness().reason}\n{self.trace.story()}")
            time.sleep(POLL_SECONDS)

    def _sever(self, client_name: str) -> None:
        backstage = Backstage(self._around.url, self.namespace, 0)
        try:
            backstage.sever(client_name)
        finally:
            backstage.close()

    def _on_call(self, call: Call, args: Sequence[Any]) -> None:
        if self.before_call is not None:
            self.before_call(call, args)

    def _stop_pods(self) -> None:
        for pod in self.pods:
            if pod.gate.dead:
                pod.gate.bury()
        for pod in self.pods:
            pod.stop(grace_seconds=0.0)
