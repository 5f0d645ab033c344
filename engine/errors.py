"""Every error that peerflow raises, in one tree.

    PeerflowError
    ├── DefinitionError        a posted definition is refused: all its problems at once
    ├── RunError
    │   ├── RunNotFound
    │   ├── RunAlreadyFinished
    │   ├── IdempotencyConflict
    │   └── TaskNotFound
    ├── LeaseLost              another pod may hold the task by now: the result counts for nothing
    ├── EffectError            what ctx.once() was asked for cannot be had
    │   ├── EffectUnknown      it may have happened before
    │   └── EffectRefused      its name, or how it is used
    ├── TaskError              an attempt failed
    │   ├── TaskFailed
    │   ├── TaskTimedOut
    │   ├── NoProgress
    │   └── TaskNotRegistered
    ├── StorageError
    │   ├── StorageUnavailable no answer: whether the call was applied is unknown
    │   ├── StorageRefused     the server said no: nothing was applied
    │   └── StorageCorrupt     what is stored makes no sense
    └── ConfigError            settings are refused: all problems at once

Each class takes facts and builds its text; `args` holds the facts, so that errors survive `copy` and `pickle`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class PeerflowError(Exception):
    """Something that peerflow itself refuses or cannot do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a posted document, where it is, and what to do about it."""

    code: str
    """Stable word for programs: `cycle`, `unknown-dependency`, `duplicate-task`, `unknown-function`, `limit-exceeded`, `not-available`,
    `invalid-json`, `duplicate-key`, `duplicate-dependency`, `invalid-value`, `unknown-field`, `missing-field`."""
    pointer: str
    """RFC 6901 pointer into the document as it was posted; `""` is the document itself."""
    message: str
    """What is wrong, with the value found."""
    remedy: str
    """What would be right."""

    def __str__(self) -> str:
        place = self.pointer if self.pointer.isprintable() else ascii(self.pointer)[1:-1]
        return f"{place or 'definition'}: {self.message}; {self.remedy}"


class DefinitionError(PeerflowError):
    """A definition is refused; `problems` holds everything wrong with it, never empty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class RunError(PeerflowError):
    """A run cannot be what the caller takes it for."""


class RunNotFound(RunError):
    """No run has this id: it never existed, or its retention is over."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(run_id)

    def __str__(self) -> str:
        return f"run {self.run_id} does not exist, or has expired"


class RunAlreadyFinished(RunError):
    """The run reached `state` before the call; nothing was changed."""

    def __init__(self, run_id: str, state: str) -> None:
        self.run_id = run_id
        self.state = state
        super().__init__(run_id, state)

    def __str__(self) -> str:
        return f"run {self.run_id} has already finished: {self.state}"


class IdempotencyConflict(RunError):
    """The idempotency key belongs to run `run_id`, which was posted with another body."""

    def __init__(self, key: str, run_id: str) -> None:
        self.key = key
        self.run_id = run_id
        super().__init__(key, run_id)

    def __str__(self) -> str:
        return f"idempotency key {self.key!r} was used for run {self.run_id} with another body; use a new key for a new definition"


class TaskNotFound(RunError):
    """The run exists, and has no task of this id."""

    def __init__(self, run_id: str, task_id: str) -> None:
        self.run_id = run_id
        self.task_id = task_id
        super().__init__(run_id, task_id)

    def __str__(self) -> str:
        return f"run {self.run_id} has no task {self.task_id!r}"


class LeaseLost(PeerflowError):
    """The claim is not the task's current one any more; what this attempt returns is dropped."""

    def __init__(self, claim_id: str) -> None:
        self.claim_id = claim_id
        super().__init__(claim_id)

    def __str__(self) -> str:
        return f"claim {self.claim_id} has been lost: the task was cancelled, or is another pod's by now"


class EffectError(PeerflowError):
    """An effect of a task cannot be begun or confirmed."""


class EffectUnknown(EffectError):
    """The effect was begun before and never confirmed; `key` is what the other side may know it by."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(name, key)

    def __str__(self) -> str:
        return f"effect {self.name!r} was begun before and never confirmed: it may have happened; look it up by its key {self.key}"


class EffectRefused(EffectError):
    """The task's code uses an effect as it cannot be used; nothing was recorded."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"effect {self.name[:130]!r}: {self.reason}"


class TaskError(PeerflowError):
    """An attempt of a task failed."""


class TaskFailed(TaskError):
    """The task function refused its arguments, raised, returned `False`, or returned something that is not a result."""


class TaskTimedOut(TaskError):
    """The attempt ran longer than the task's `timeout`."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(timeout_seconds)

    def __str__(self) -> str:
        return f"the attempt ran longer than its timeout of {self.timeout_seconds:g} s"


class NoProgress(TaskError):
    """The attempt's code did not say for `heartbeat_timeout` that it moves, although its pod lives."""

    def __init__(self, heartbeat_timeout_seconds: float, progress: str | None) -> None:
        self.heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self.progress = progress
        """What it said last, as text."""
        super().__init__(heartbeat_timeout_seconds, progress)

    def __str__(self) -> str:
        last = "it has told no progress" if self.progress is None else f"its last progress was {self.progress}"
        return f"the attempt did not call ctx.heartbeat() for {self.heartbeat_timeout_seconds:g} s, its heartbeat_timeout; {last}"


class TaskNotRegistered(TaskError):
    """This pod has no task function of this name."""

    def __init__(self, function: str) -> None:
        self.function = function
        super().__init__(function)

    def __str__(self) -> str:
        return f"no task function {self.function!r} is registered on this pod"


class StorageError(PeerflowError):
    """Redis could not do what it was asked."""


class StorageUnavailable(StorageError):
    """No answer from `address` (without password); a change that was asked for may or may not have been made."""

    def __init__(self, address: str, cause: object) -> None:
        self.address = address
        self.cause = cause
        super().__init__(address, cause)

    def __str__(self) -> str:
        return f"cannot reach {self.address}: {self.cause}"


class StorageRefused(StorageError):
    """The server refused the call (`OOM`, `MISCONF`, `READONLY`, `NOREPLICAS`, …); nothing was changed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"the server refused the call, nothing was changed: {self.reason}"


class StorageCorrupt(StorageError):
    """What is stored contradicts itself, or was written by a version that this one does not understand."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"stored data make no sense: {self.what}"


class ConfigError(PeerflowError):
    """Settings are refused; `problems` holds one text for each, with setting, value and remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: list[str] = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)
