"""`ctx.once()` as a task's code sees it, with the keeper that a user's own unit test gets."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from concurrent.futures import Future
from typing import Any, cast

import pytest
from pydantic import JsonValue

import peerflow
from engine.errors import EffectRefused, EffectUnknown, LeaseLost
from engine.ids import effect_key
from engine.limits import EFFECTS_PER_TASK
from scheduler.context import TaskContext
from scheduler.effects import Begun, Effect, EffectMemory
from scheduler.failures import InvalidResult, ResultTooLarge


def attempts(count: int) -> list[TaskContext]:
    """Contexts of several attempts of one task, which remember together."""
    memory = EffectMemory()
    return [TaskContext(run_id="run", task_id="pay", attempt=number, effects=memory) for number in range(1, count + 1)]


async def test_a_new_effect_is_confirmed_on_leaving_and_its_result_can_be_read_afterwards() -> None:
    async with TaskContext().once("charge") as effect:
        assert (effect.confirmed, effect.unknown, effect.result) == (False, False, None)
        effect.result = cast("JsonValue", {"payment": ("p", 1)})
    assert (effect.confirmed, effect.unknown) == (True, False)
    assert effect.result == {"payment": ["p", 1]}, "as later attempts read it"


async def test_a_later_attempt_finds_a_confirmed_effect_with_its_result_and_key() -> None:
    first, second = attempts(2)
    async with first.once("charge") as effect:
        effect.result = [1, None, "ü"]
    with second.once("charge") as again:
        assert (again.confirmed, again.unknown, again.result, again.key) == (True, False, [1, None, "ü"], effect.key)
    assert again.result == [1, None, "ü"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_after_an_exception_the_effect_is_unknown_to_a_later_attempt(error: BaseException) -> None:
    first, second, third = attempts(3)
    effect = first.once("charge")
    with pytest.raises(type(error)):
        async with effect:
            raise error
    assert not effect.confirmed
    with second.once("charge") as again:
        assert (again.confirmed, again.unknown, again.key) == (False, True, effect.key)
        again.result = 1
    assert (again.confirmed, again.unknown) == (True, False)
    with third.once("charge") as last:
        assert (last.confirmed, last.result) == (True, 1)


def test_an_attempt_may_refuse_to_go_on_where_the_effect_is_unknown() -> None:
    first, second = attempts(2)
    with pytest.raises(ValueError, match="no"), first.once("charge", on_unknown="fail"):
        raise ValueError("no")
    with (
        pytest.raises(EffectUnknown, match="may have happened; look it up by its key") as refused,
        second.once("charge", on_unknown="fail"),
    ):
        raise AssertionError("the block must not run")
    assert refused.value.key == effect_key("run", "pay", "charge")


def test_every_name_is_an_effect_of_its_own_with_a_key_of_its_own() -> None:
    keys = {
        TaskContext(run_id=run_id, task_id=task_id, attempt=attempt).once(name).key
        for run_id in ("r1", "r2")
        for task_id in ("a", "b")
        for attempt in (1, 2)
        for name in ("charge", "mail")
    }
    assert len(keys) == 8
    assert all(len(key) == 64 for key in keys)
    assert TaskContext(run_id="r1", task_id="a").effect_key not in keys


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ü", "x" * 129, "..", "a/b", "x" * 10_000])
def test_a_name_that_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(EffectRefused, match="1 to 128 letters") as refused:
        TaskContext().once(name)
    assert len(str(refused.value)) < 400


def test_an_unknown_policy_is_refused() -> None:
    policy: Any = "ask"
    with pytest.raises(EffectRefused, match="use 'run' or 'fail'"):
        TaskContext().once("charge", on_unknown=policy)


def test_a_task_has_a_bounded_number_of_names() -> None:
    context = TaskContext()
    for number in range(EFFECTS_PER_TASK):
        with context.once(f"n{number}"):
            pass
    with context.once("n0") as known:
        assert known.confirmed
    with pytest.raises(EffectRefused, match="64 other names"), context.once("one-more"):
        raise AssertionError("the block must not run")


@pytest.mark.parametrize(
    ("result", "error"),
    [({1, 2}, InvalidResult), (float("nan"), InvalidResult), ("x" * 300_000, ResultTooLarge), (object(), InvalidResult)],
)
async def test_a_result_that_cannot_be_stored_is_an_error_and_the_effect_stays_unknown(result: Any, error: type[Exception]) -> None:
    first, second = attempts(2)
    with pytest.raises(error):
        async with first.once("charge") as effect:
            effect.result = result
    assert second.once("charge").__enter__().unknown


async def test_a_second_confirmation_is_refused() -> None:
    first, second = attempts(2)
    with pytest.raises(EffectRefused, match="another block of this name"):
        async with first.once("charge"), second.once("charge"):
            pass


class Ended(EffectMemory):
    """The keeper of a pod that is gone."""

    remote = True

    def begin(self, context: TaskContext, name: str, op: str, *, again: bool) -> Future[Begun]:
        answer = super().begin(context, name, op, again=again)
        assert answer.done()
        ended: Future[Begun] = Future()
        ended.cancel()
        return ended


async def test_sync_blocks_in_async_code_are_refused_instead_of_blocking_the_loop() -> None:
    with pytest.raises(RuntimeError, match=r"write 'async with ctx\.once"), TaskContext(effects=Ended()).once("charge"):
        raise AssertionError("the block must not run")
    with TaskContext().once("charge") as effect:
        effect.result = "a test of a sync function may itself be async"
    assert effect.confirmed


def test_code_whose_pod_has_ended_meanwhile_gets_lease_lost() -> None:
    with pytest.raises(LeaseLost, match=r"claim f{32} "), TaskContext(effects=Ended(), claim_id="f" * 32).once("charge"):
        raise AssertionError("the block must not run")


def test_an_effect_shows_where_it_stands() -> None:
    effect = TaskContext().once("charge")
    assert repr(effect).startswith("<Effect charge (not begun) ")
    with effect:
        assert "(begun)" in repr(effect)
    assert "(confirmed)" in repr(effect)


def test_users_find_all_names_in_peerflow_and_errors_survive_a_copy() -> None:
    assert (peerflow.Effect, peerflow.EffectMemory) == (Effect, EffectMemory)
    assert (peerflow.EffectUnknown, peerflow.LeaseLost) == (EffectUnknown, LeaseLost)
    for error in (EffectUnknown("charge", "0f"), EffectRefused("charge", "no")):
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(again), str(again)) == (type(error), str(error))


async def test_code_that_is_cancelled_while_it_confirms_leaves_no_error_that_nobody_hears() -> None:
    class Slow(EffectMemory):
        def confirm(self, context: TaskContext, name: str, op: str, result_json: str) -> Future[None]:
            del context, name, op, result_json
            answers.append(Future())
            return answers[0]

    answers: list[Future[None]] = []
    unheard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: unheard.append(told))

    async def pay() -> None:
        async with TaskContext(run_id="run", task_id="pay", attempt=1, effects=Slow()).once("charge"):
            pass

    paying = asyncio.create_task(pay())
    for _ in range(3):
        await asyncio.sleep(0)
    paying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paying
    answers.pop().set_exception(LeaseLost("c" * 32))
    for _ in range(3):
        await asyncio.sleep(0)
    del paying
    gc.collect()
    assert unheard == []
