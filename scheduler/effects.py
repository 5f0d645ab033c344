"""Effects on the outside world: what `ctx.once()` gives to a task's code, and who remembers them.

An effect is announced before it happens and confirmed after it, so a later attempt finds one of three states: new, confirmed with its
result, or unknown: it was announced, and whether it happened nobody here can know.
"""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeVar

from engine.errors import EffectRefused, EffectUnknown, LeaseLost
from engine.ids import effect_key, is_id
from engine.limits import EFFECTS_PER_TASK, Limits

if TYPE_CHECKING:
    from pydantic import JsonValue

    from scheduler.context import TaskContext

Result = TypeVar("Result")
OnUnknown = Literal["run", "fail"]


@dataclass(frozen=True, slots=True)
class Begun:
    """What was known of an effect when it was announced."""

    state: Literal["new", "unknown", "confirmed"]
    result_json: str = "null"


class EffectKeeper(Protocol):
    """Remembers effects over attempts. It answers with futures, for which code in any thread and any event loop can wait.

    They end with LeaseLost where the attempt is not the task's current one any more, with EffectRefused where it asks for what cannot be.
    """

    result_bytes: int
    """The largest result of an effect, as JSON."""
    remote: bool
    """True where an answer takes its time: an event loop must not block for it."""

    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        """Announces an effect. `op` names this entry into the block; without `again`, what is unknown is not announced a second time."""
        ...

    def confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> Future[None]:
        """Confirms what this entry has announced."""
        ...


class Effect:
    """An effect between its announcement and its confirmation: `async with ctx.once("charge") as effect`, or `with` in sync code.

    Entering announces it. Leaving the block without an exception confirms it with `result`; with an exception it stays announced.
    """

    __slots__ = ("_context", "_keeper", "_on_unknown", "_op", "confirmed", "key", "name", "result", "unknown")

    def __init__(self, context: TaskContext, keeper: EffectKeeper, name: str, on_unknown: OnUnknown) -> None:
        if not is_id(name):
            raise EffectRefused(name, "a name has 1 to 128 letters, digits and '_', '.', '-'")
        if on_unknown not in {"run", "fail"}:
            raise EffectRefused(name, f"on_unknown={on_unknown!r} is unknown; use 'run' or 'fail'")
        self._context, self._keeper, self._on_unknown = context, keeper, on_unknown
        self._op = ""
        self.name = name
        self.key = effect_key(context.run_id, context.task_id, name)
        """64 hex digits, the same in all attempts of this task in this run: the idempotency key for the other side."""
        self.confirmed = False
        """True where it has happened, and `result` is what it gave: do not do it again."""
        self.unknown = False
        """True where it was announced before and never confirmed: it may have happened. Look it up by `key`, or do it with the same key."""
        self.result: JsonValue = None
        """JSON, up to the size of a task's result; the code sets it within the block, later attempts read it."""

    async def __aenter__(self) -> Self:
        self._begun(await asyncio.wrap_future(self._begin()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None and not self.confirmed:
            text = self._text()
            # The effect has happened. Code that is cancelled now does not take back that this is said, and does not hear the answer.
            said = asyncio.wrap_future(self._confirm(text))
            said.add_done_callback(_take_note)
            await asyncio.shield(said)
            self._done(text)

    def __enter__(self) -> Self:
        if self._keeper.remote and _in_a_loop():
            raise RuntimeError("'with ctx.once(...)' would block this event loop; write 'async with ctx.once(...)'")
        self._begun(self._wait(self._begin()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None and not self.confirmed:
            text = self._text()
            self._wait(self._confirm(text))
            self._done(text)

    def __repr__(self) -> str:
        state = "confirmed" if self.confirmed else "unknown" if self.unknown else "begun" if self._op else "not begun"
        return f"<Effect {self.name} ({state}) {self.key[:12]}>"

    def _begin(self) -> Future[Begun]:
        self._op = os.urandom(15).hex()
        return self._keeper.begin(self._context, self.name, self._op, again=self._on_unknown == "run")

    def _begun(self, begun: Begun) -> None:
        self.confirmed, self.unknown = begun.state == "confirmed", begun.state == "unknown"
        if self.confirmed:
            self.result = json.loads(begun.result_json)
        if self.unknown and self._on_unknown == "fail":
            raise EffectUnknown(self.name, self.key)

    def _text(self) -> str:
        from scheduler.results import result_json  # noqa: PLC0415  # it brings pydantic, which modules of tasks need not load

        return result_json(self.result, self._keeper.result_bytes)

    def _confirm(self, text: str) -> Future[None]:
        return self._keeper.confirm(self._context, self.name, self._op, text)

    def _done(self, text: str) -> None:
        self.confirmed, self.unknown = True, False
        # As later attempts read it: what was a tuple is a list by now.
        self.result = json.loads(text)

    def _wait(self, answer: Future[Result]) -> Result:
        try:
            return answer.result()
        except CancelledError:
            raise LeaseLost(self._context.claim_id) from None


class EffectMemory:
    """Remembers effects in this process, for tests of task functions: give one to the contexts of several attempts of a task."""

    result_bytes = Limits().result_bytes
    remote = False

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, str | None]] = {}
        """Run and task → name → result as JSON, None until it is confirmed."""

    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        del op, again
        known = self._known.setdefault((context.run_id, context.task_id), {})
        answer: Future[Begun] = Future()
        if name not in known and len(known) >= EFFECTS_PER_TASK:
            answer.set_exception(full(name))
        elif (result_json := known.get(name)) is not None:
            answer.set_result(Begun("confirmed", result_json))
        else:
            answer.set_result(Begun("unknown" if name in known else "new"))
            known[name] = None
        return answer

    def confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> Future[None]:
        del op
        known = self._known[context.run_id, context.task_id]
        answer: Future[None] = Future()
        if known[name] is not None:
            answer.set_exception(confirmed_already(name))
        else:
            known[name] = result_json
            answer.set_result(None)
        return answer


def full(name: str) -> EffectRefused:
    return EffectRefused(
        name, f"the task has {EFFECTS_PER_TASK} other names of effects, which is the limit; use fewer names, or more tasks"
    )


def confirmed_already(name: str) -> EffectRefused:
    return EffectRefused(name, "another block of this name has confirmed it meanwhile; give each effect a name of its own")


def _take_note(said: asyncio.Future[None]) -> None:
    """Whoever waited may be gone: then nobody else asks how it ended, which the loop would report as an error."""
    if not said.cancelled():
        said.exception()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
