"""What stands between one pod and the server: here its calls meet their faults, and here it is killed, frozen and cut off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from peerflow.testing.faults import Fault, FaultKind, FaultPlan
from peerflow.testing.trace import Call, Trace
from storage.gate import Send, connection_lost, error_reply

STAND_SECONDS = 10.0
"""How long a loop may take to stand still: only user code that blocks it keeps it from that."""

WORDS = ("OK", "STALE", "TERMINAL")
"""What `commit` says of each attempt."""


class PodGate:
    """A pod's gate. `dead`, `frozen` and `cut` may be read anywhere; methods may be called from any thread.

    A pod stands still when its event loop's thread is held up in `_stand` and its heartbeat thread in `call_blocking`. A dead pod does so
    until it is buried, so that not a line of its code runs any more (but for what its task threads are in); then it ends, cut off.
    """

    def __init__(
        self,
        pod: str,
        *,
        trace: Trace,
        plan: Callable[[], FaultPlan],
        sever: Callable[[], None],
        on_pause: Callable[[float], None],
        on_fault: Callable[[Call], None],
        on_call: Callable[[Call, Sequence[Any]], None],
    ) -> None:
        """`sever` cuts the pod's connections; `on_pause` hears how many TTLs a pause lasts, and thaws the pod after them.

        `on_call` hears of each call before it meets its fault or is sent, in the thread that makes it.
        """
        self._pod, self._trace, self._plan, self._sever = pod, trace, plan, sever
        self._on_pause, self._on_fault, self._on_call = on_pause, on_fault, on_call
        self.dead = False
        self.cut = False
        self._moves = threading.Event()
        self._moves.set()
        self._stands = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called in the loop's thread before the pod starts."""
        self._loop, self._thread = loop, threading.get_ident()

    @property
    def frozen(self) -> bool:
        return not self.dead and not self._moves.is_set()

    @property
    def down(self) -> bool:
        """True while nothing that the pod does reaches the server."""
        return self.dead or self.cut or not self._moves.is_set()

    # What a test does to the pod

    def kill(self) -> None:
        """No call of the pod reaches the server any more, and its connections are gone."""
        self.dead = True
        self.freeze()
        self._sever()

    def freeze(self) -> None:
        """Returns once the pod stands still."""
        self._moves.clear()
        self._hold_loop()
        self._stands.wait(STAND_SECONDS)

    def thaw(self) -> None:
        if not self.dead:
            self._moves.set()

    def bury(self) -> None:
        """Lets a dead pod's threads go on, without a server, so that they can end."""
        self.dead = True
        self._moves.set()

    def cut_off(self) -> None:
        self.cut = True
        self._sever()

    def reconnect(self) -> None:
        self.cut = False

    # What the pod does

    async def call(self, name: str, args: Sequence[Any], send: Send) -> Any:
        """In the loop's thread."""
        call = self._begin(name, args)
        try:
            self._before(call)
            answer = await send()
            self._trace.applied(call, args, answer)
            self._after(call)
        except BaseException as error:
            self._trace.end(call, _shown(error))
            raise
        self._trace.end(call, _word(answer))
        return answer

    def call_blocking(self, name: str, args: Sequence[Any], send: Callable[[], Any]) -> Any:
        """In the heartbeat thread."""
        self._moves.wait()
        call = self._begin(name, args)
        try:
            self._before(call)
            answer = send()
            self._trace.applied(call, args, answer)
            self._after(call)
        except BaseException as error:
            self._trace.end(call, _shown(error))
            raise
        self._trace.end(call, _word(answer))
        return answer

    def _begin(self, name: str, args: Sequence[Any]) -> Call:
        call = self._trace.begin(self._pod, name, args)
        call.fault = None if self.dead else self._plan().at(call.points)
        if call.fault is not None:
            self._on_fault(call)
        if not self.down:
            self._on_call(call, args)
        return call

    def _before(self, call: Call) -> None:
        # A call that was under way when its pod died meets nothing more: buried, it is only to end.
        self._check()
        match call.fault:
            case Fault(FaultKind.CRASH_BEFORE):
                self._die()
            case Fault(FaultKind.PAUSE_BEFORE, _, ttls):
                self._pause(ttls)
            case Fault(FaultKind.LOST):
                raise connection_lost("cut before the server got the call")
            case Fault(FaultKind.ERROR, code):
                raise error_reply(f"{code} the fault plan says so")
            case _:
                pass
        self._check()

    def _after(self, call: Call) -> None:
        if self.dead:
            self._check()
        match call.fault:
            case Fault(FaultKind.CRASH_AFTER):
                self._die()
            case Fault(FaultKind.PAUSE_AFTER, _, ttls):
                self._pause(ttls)
            case Fault(FaultKind.UNKNOWN):
                raise connection_lost("cut before the reply came")
            case _:
                pass
        self._check()

    def _check(self) -> None:
        if self.dead or self.cut:
            raise connection_lost("the pod is cut off")

    def _die(self) -> None:
        self.dead = True
        self._moves.clear()
        self._sever()
        self._stand_here()

    def _pause(self, ttls: float) -> None:
        self._moves.clear()
        self._on_pause(ttls)
        self._stand_here()

    def _stand_here(self) -> None:
        if threading.get_ident() == self._thread:
            self._stand()
        else:
            self._hold_loop()
            self._moves.wait()

    def _hold_loop(self) -> None:
        if self._loop is not None and threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._stand)

    def _stand(self) -> None:
        self._stands.set()
        self._moves.wait()
        self._stands.clear()


def _word(answer: Any) -> str:
    """An answer in short: its first word, and a commit's words for each attempt."""
    if not isinstance(answer, list):
        return "-" if answer is None else "read"
    parts = cast("list[Any]", answer)
    if not parts or not isinstance(parts[0], str):
        return "read"
    head = parts[0][:40]
    words = cast("list[Any]", parts[1]) if len(parts) > 1 and isinstance(parts[1], list) else []
    return f"{head} ({' '.join(words)})" if words and all(word in WORDS for word in words) else head


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
