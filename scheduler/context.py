"""What a task function may know and say about the attempt that it runs in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from engine.ids import effect_key
from scheduler.effects import Effect, EffectKeeper, EffectMemory

if TYPE_CHECKING:
    from pydantic import JsonValue

    from scheduler.task_lines import LineSink

LOGGER = logging.getLogger("peerflow.task")


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds run, task and attempt to each record, beside whatever `extra` the caller gives."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _ignore(progress: JsonValue) -> None:
    del progress


class TaskContext:
    """Facts about the current attempt, its logger and its sign of life.

    A task function gets it as its parameter `ctx` (or any parameter annotated `TaskContext`); code further down calls
    `scheduler.context.current()`. A user's unit test makes one with the facts that the test needs.
    """

    __slots__ = (
        "_cancelled",
        "_effects",
        "_on_enter",
        "_on_heartbeat",
        "attempt",
        "claim_id",
        "fencing_token",
        "headers",
        "index",
        "lines",
        "pod_id",
        "run_id",
        "task_id",
    )

    def __init__(
        self,
        *,
        run_id: str = "",
        task_id: str = "",
        attempt: int = 1,
        fencing_token: int = 0,
        pod_id: str = "",
        claim_id: str = "",
        on_heartbeat: Callable[[JsonValue], None] = _ignore,
        effects: EffectKeeper | None = None,
        headers: Mapping[str, str] | None = None,
        on_enter: Callable[[], object] | None = None,
        index: int = 0,
        lines: LineSink | None = None,
    ) -> None:
        """Without `effects`, `once()` remembers in this object alone: one `EffectMemory` for several contexts plays several attempts.

        `on_enter` is called where the task's code is about to run, in its thread and with its context variables.
        """
        self.run_id = run_id
        self.task_id = task_id
        self.attempt = attempt
        """Counted from 1."""
        self.fencing_token = fencing_token
        """Grows with each attempt of the task: a store that keeps the greatest number seen can refuse an older attempt's writes."""
        self.pod_id = pod_id
        self.claim_id = claim_id
        """32 hex digits that name this attempt's claim: unlike its number, never used twice."""
        self.headers: Mapping[str, str] = headers or {}
        """HTTP headers that make a call to another service part of this attempt's trace (`traceparent`); empty without tracing."""
        self.index = index
        """Place of the task in the run's graph."""
        self.lines = lines
        """Who keeps what the attempt's code prints and logs."""
        self._on_heartbeat = on_heartbeat
        self._on_enter = on_enter
        self._effects = effects
        self._cancelled = False

    @property
    def traceparent(self) -> str | None:
        """This attempt's W3C trace context, None without tracing."""
        return self.headers.get("traceparent")

    @property
    def effect_key(self) -> str:
        """64 hex digits that name the task's effect: the same in all attempts, so that a side effect can be made once."""
        return effect_key(self.run_id, self.task_id)

    @property
    def effects(self) -> EffectKeeper:
        """Who remembers this attempt's effects. For `once()`, and for whoever runs the code elsewhere."""
        if self._effects is None:
            self._effects = EffectMemory()
        return self._effects

    def once(self, name: str, *, on_unknown: Literal["run", "fail"] = "run") -> Effect:
        """An effect on the outside world that all attempts of this task know of: at most one confirmation of it is ever accepted.

            async with ctx.once("charge") as effect:
                if not effect.confirmed:
                    effect.result = await gateway.charge(order, idempotency_key=effect.key)

        `with` instead of `async with` in code that is not async. A task has up to 64 names, each as an id. Where the effect was announced
        before and never confirmed, `effect.unknown` is True; with `on_unknown="fail"`, EffectUnknown is raised instead. Entering and
        leaving raise LeaseLost where this attempt is not the task's current one any more, leaving raises InvalidResult or ResultTooLarge
        where `effect.result` cannot be stored. While storage is away both wait for it.
        """
        return Effect(self, self.effects, name, on_unknown)

    @property
    def log(self) -> TaskLogger:
        """Logger `peerflow.task` whose records carry `run_id`, `task` and `attempt`; they are in the attempt's log too."""
        return TaskLogger(LOGGER, {"run_id": self.run_id, "task": self.task_id, "attempt": self.attempt})

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for this attempt any more: it timed out, or its run was cancelled, or its lease was lost.

        Code in a thread cannot be ended from outside; a long loop looks here and returns.
        """
        return self._cancelled

    def heartbeat(self, progress: JsonValue = None) -> None:
        """Says that the code moves; from any thread, from async code and from a process function alike. Never blocks, never raises."""
        self._on_heartbeat(progress)

    def enter(self) -> None:
        """Makes this the current context of the code that runs here from now on. Whoever runs that code calls it."""
        CURRENT.set(self)
        if self._on_enter is not None:
            self._on_enter()

    def cancel(self) -> None:
        """Sets `cancelled`. The executor calls it."""
        self._cancelled = True


CURRENT: ContextVar[TaskContext | None] = ContextVar("peerflow_task_context", default=None)


def current() -> TaskContext:
    """The context of the attempt that this code runs in; LookupError outside of a task function."""
    context = CURRENT.get()
    if context is None:
        raise LookupError("there is no current task: current() works inside a task function that peerflow runs")
    return context
