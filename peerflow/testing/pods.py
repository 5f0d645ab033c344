"""A pod in a thread of this process, which can be killed, frozen and cut off as a process can."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.errors import StorageError
from engine.events import Publisher
from peerflow.testing.faults import FaultPlan
from peerflow.testing.gates import PodGate
from peerflow.testing.loops import LoopThread
from peerflow.testing.trace import Call, Trace
from scheduler.identity import PodOptions
from scheduler.pod import Pod
from scheduler.registry import Registry
from storage.gate import Rig, Scripts
from storage.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pods of a cluster share."""

    url: str
    namespace: str
    partitions: int
    retention_seconds: float
    scripts: Scripts
    registry: Registry
    options: PodOptions
    publisher: Publisher
    clock: Callable[[], float]
    trace: Trace
    plan: Callable[[], FaultPlan]
    sever: Callable[[str], None]
    """Cuts the connections of the client of that name."""
    on_pause: Callable[[ClusterPod, float], None]
    on_fault: Callable[[Call], None]
    on_call: Callable[[Call, Sequence[Any]], None]


class ClusterPod:
    """A `scheduler.pod.Pod` with a Store of its own, in an event loop of its own thread. Methods may be called from any other thread.

    What tells it from a process: functions that run in threads cannot be stopped; they run on when the pod is killed or frozen, and what
    they return is lost, or waits for the thaw. Child processes of a killed pod end when the cluster closes.
    """

    def __init__(self, name: str, around: Surroundings) -> None:
        """Starts the pod; `wait_until_ready` returns once it claims tasks."""
        self.name = name
        self._around = around
        self._client_name = f"{around.namespace}-{name}"
        self.gate = PodGate(
            name,
            trace=around.trace,
            plan=around.plan,
            sever=lambda: around.sever(self._client_name),
            on_pause=lambda ttls: around.on_pause(self, ttls),
            on_fault=around.on_fault,
            on_call=around.on_call,
        )
        self.stopped = False
        self._asked: set[Future[Any]] = set()
        self._thread = LoopThread(f"peerflow-{name}")
        try:
            self._thread.run(self._open())
        except BaseException:
            self._thread.close()
            raise

    async def _open(self) -> None:
        around = self._around
        self.gate.belongs_to(self._thread.loop)
        rig = Rig(self.gate, around.scripts, self._client_name)
        self.store = Store(
            around.url, namespace=around.namespace, partitions=around.partitions, retention_seconds=around.retention_seconds, rig=rig
        )
        self.pod = Pod(self.store, around.registry, around.publisher, around.options, clock=around.clock)
        await self.pod.start()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine in the pod's loop: a request that the pod works on even where its client waits no longer."""
        asked = self._thread.begin(coroutine)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return asked

    @property
    def asked(self) -> int:
        """Requests that are under way."""
        return len(self._asked)

    @property
    def pod_id(self) -> str:
        return self.pod.who.pod_id

    @property
    def state(self) -> str:
        """`stopped`, `killed`, `frozen`, `cut off`, `running`."""
        if self.stopped:
            return "stopped"
        gate = self.gate
        return "killed" if gate.dead else "frozen" if gate.frozen else "cut off" if gate.cut else "running"

    @property
    def lives(self) -> bool:
        """True where what the pod does reaches the server."""
        return not self.stopped and not self.gate.down

    @property
    def idle(self) -> bool:
        """True where the pod holds no claim and waits for no answer."""
        return self.pod.held == 0 and self._around.trace.busy(self.name) == 0

    @property
    def ready(self) -> bool:
        return self.pod.readiness().ready

    def poke(self) -> None:
        """The clock has jumped: a heartbeat, then a look at everything."""
        self.pod.beat_now()

    def look(self) -> None:
        """Looks for ready tasks, due timers and orphans at once."""
        self._thread.call(self.pod.look)

    def kill(self) -> None:
        """As `kill -9`, for all that Redis can see: not another call, connections gone, no release, no signing off."""
        self.gate.kill()

    def freeze(self) -> None:
        """The loop's thread and the heartbeat stand still, until `thaw`."""
        self.gate.freeze()

    def thaw(self) -> None:
        """Goes on where it stood, and finds what has happened meanwhile."""
        self.gate.thaw()

    def cut_off(self) -> None:
        """The pod lives and works, and does not reach the server, until `reconnect`."""
        self.gate.cut_off()

    def reconnect(self) -> None:
        self.gate.reconnect()
        self.pod.beat_now()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Drains and stops, as SIGTERM does. A killed pod is buried."""
        if self.stopped:
            return
        self.stopped = True
        if self.gate.dead:
            self.gate.bury()
        else:
            self.gate.thaw()
            self.gate.reconnect()
        try:
            self._thread.run(self._close(0.0 if self.gate.dead else grace_seconds), grace_seconds + 60.0)
        finally:
            self._thread.close()

    async def _close(self, grace_seconds: float) -> None:
        try:
            if self.gate.dead:
                await self.pod.abandon()
            else:
                await self.pod.drain(grace_seconds)
                await self.pod.stop()
        except StorageError:
            return
        finally:
            await self.store.close()

    def __repr__(self) -> str:
        return f"<pod {self.name} {self.state}>"
