"""Effects of process functions: the child asks through its pipe, the pod asks storage and answers.

child → pod    {"op": "effect", "claim_id", "number", "do": "begin", "name", "operation", "again"}
               {"op": "effect", "claim_id", "number", "do": "confirm", "name", "operation", "result_json"}
pod → child    {"op": "effect", "number", "is": "begun", "state", "result_json"} | {…, "is": "confirmed"} | {…, "is": "lost"}
               | {…, "is": "refused", "reason"} | {…, "is": "failed", "reason"}
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Any

from engine.errors import EffectRefused, LeaseLost, StorageCorrupt
from engine.ids import is_id
from scheduler.context import TaskContext
from scheduler.effects import Begun
from scheduler.wire import WireError

Message = dict[str, Any]


class PipedEffects:
    """The keeper in a child process. `begin` and `confirm` may be called from any thread, `answered` by the one that reads the pipe."""

    remote = True

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.result_bytes = 0
        """Set with each run."""
        self._send = send
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[str, str, Future[Any]]] = {}
        """Number → claim id, name, where the answer goes."""

    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        return self._ask(context, name, {"do": "begin", "operation": op, "again": again})

    def confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> Future[None]:
        return self._ask(context, name, {"do": "confirm", "operation": op, "result_json": result_json})

    def answered(self, message: Message) -> None:
        """An answer from the pod."""
        claim_id, name, answer = self._asked.pop(message["number"])
        with suppress(InvalidStateError):  # whoever asked was cancelled
            match message["is"]:
                case "begun":
                    answer.set_result(Begun(message["state"], message["result_json"]))
                case "confirmed":
                    answer.set_result(None)
                case "lost":
                    answer.set_exception(LeaseLost(claim_id))
                case "refused":
                    answer.set_exception(EffectRefused(name, message["reason"]))
                case _:
                    answer.set_exception(StorageCorrupt(message["reason"]))

    def _ask(self, context: TaskContext, name: str, question: Message) -> Future[Any]:
        number, answer = next(self._numbers), Future[Any]()
        self._asked[number] = context.claim_id, name, answer
        self._send({"op": "effect", "claim_id": context.claim_id, "number": number, "name": name, **question})
        return answer


def answer_question(question: Message, context: TaskContext | None, reply: Callable[[Message], None]) -> None:
    """Asks the pod's keeper what a child has asked, and replies, from whatever thread, once there is an answer.

    `context` is that of the run that the question is about, None where the pod has dropped it. Raises WireError for no proper question.
    """
    number = question.get("number")
    if not isinstance(number, int):
        raise WireError("a question without a number")
    if context is None:
        reply({"op": "effect", "number": number, "is": "lost"})
        return
    asked = _ask_keeper(question, context)
    asked.add_done_callback(lambda answer: reply({"op": "effect", "number": number, **_told(answer)}))


def _ask_keeper(question: Message, context: TaskContext) -> Future[Any]:
    name, operation = question.get("name"), question.get("operation")
    if not (isinstance(name, str) and is_id(name) and isinstance(operation, str) and operation.isalnum()):
        raise WireError("a question about no proper effect")
    if question.get("do") == "begin":
        return context.effects.begin(context, name, operation, again=question.get("again") is True)
    result_json = question.get("result_json")
    if question.get("do") != "confirm" or not isinstance(result_json, str):
        raise WireError(f"the question {question.get('do')!r}")
    return context.effects.confirm(context, name, operation, result_json)


def _told(answer: Future[Any]) -> Message:
    try:
        result = answer.result()
    except (LeaseLost, CancelledError):
        return {"is": "lost"}
    except EffectRefused as error:
        return {"is": "refused", "reason": error.reason}
    except Exception as error:  # noqa: BLE001  # whatever it is, the code that waits must hear it
        return {"is": "failed", "reason": f"{type(error).__name__}: {error}"}
    if isinstance(result, Begun):
        return {"is": "begun", "state": result.state, "result_json": result.result_json}
    return {"is": "confirmed"}
