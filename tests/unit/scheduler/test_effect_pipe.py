"""What a child and its pod say to each other about effects."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from engine.errors import EffectRefused, LeaseLost, StorageCorrupt
from scheduler.context import TaskContext
from scheduler.effect_pipe import PipedEffects, answer_question
from scheduler.effects import Begun, EffectMemory
from scheduler.wire import WireError

Message = dict[str, Any]


class Both:
    """A child and its pod, with a pipe that loses nothing."""

    def __init__(self, *, dropped: bool = False) -> None:
        self.pod = TaskContext(run_id="run", task_id="pay", claim_id="c")
        self.keeper = PipedEffects(self.ask)
        self.keeper.result_bytes = 100
        self.child = TaskContext(run_id="run", task_id="pay", claim_id="c", effects=self.keeper)
        self.asked: list[Message] = []
        self._dropped = dropped

    def ask(self, message: Message) -> None:
        self.asked.append(message)
        answer_question(message, None if self._dropped else self.pod, self.keeper.answered)


class Broken(EffectMemory):
    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        del context, name, op, again
        answer: Future[Begun] = Future()
        answer.set_exception(ZeroDivisionError("by what?"))
        return answer


def test_a_child_announces_and_confirms_through_its_pod() -> None:
    both = Both()
    with both.child.once("charge") as effect:
        effect.result = {"p": 1}
    with both.pod.once("charge") as known:
        assert (known.confirmed, known.result, known.key) == (True, {"p": 1}, effect.key)
    with both.child.once("charge") as again:
        assert (again.confirmed, again.result) == (True, {"p": 1})
    assert [(message["op"], message["claim_id"], message["do"]) for message in both.asked] == [
        ("effect", "c", "begin"),
        ("effect", "c", "confirm"),
        ("effect", "c", "begin"),
    ]
    assert both.asked[0]["operation"] == both.asked[1]["operation"] != both.asked[2]["operation"]


def test_a_child_whose_run_was_dropped_has_lost_its_lease() -> None:
    both = Both(dropped=True)
    with pytest.raises(LeaseLost, match="claim c "), both.child.once("charge"):
        raise AssertionError("the block must not run")


def test_what_the_pod_refuses_is_refused_in_the_child() -> None:
    both = Both()
    with pytest.raises(EffectRefused, match="'charge': another block"), both.child.once("charge"), both.pod.once("charge"):
        pass


def test_any_other_error_of_the_pod_reaches_the_child() -> None:
    both = Both()
    both.pod = TaskContext(run_id="run", task_id="pay", claim_id="c", effects=Broken())
    with pytest.raises(StorageCorrupt, match="ZeroDivisionError: by what"), both.child.once("charge"):
        raise AssertionError("the block must not run")


def test_an_answer_to_code_that_was_cancelled_is_dropped() -> None:
    sent: list[Message] = []
    keeper = PipedEffects(sent.append)
    waiting = keeper.begin(TaskContext(claim_id="c"), "charge", "00", again=True)
    waiting.cancel()
    keeper.answered({"number": sent[0]["number"], "is": "begun", "state": "new", "result_json": "null"})
    assert waiting.cancelled()


PROPER = {"op": "effect", "number": 1, "name": "charge", "operation": "0f", "do": "confirm", "result_json": "1"}


@pytest.mark.parametrize(
    "wrong",
    [{"number": "1"}, {"name": "a b"}, {"name": None}, {"operation": "0 f"}, {"operation": 3}, {"do": "undo"}, {"result_json": None}],
)
def test_a_question_that_is_none_is_a_wire_error(wrong: Message) -> None:
    with pytest.raises(WireError):
        answer_question(PROPER | wrong, TaskContext(), lambda _: None)
