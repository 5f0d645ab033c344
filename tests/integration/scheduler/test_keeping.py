"""A pod's keeper of effects, on real scripts: what is lost, refused, repeated and outlived."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import Any

import pytest
import pytest_asyncio

from engine.errors import EffectRefused, LeaseLost
from engine.limits import EFFECTS_PER_TASK
from scheduler import keeping
from scheduler.context import TaskContext
from scheduler.holdings import Held, Holdings
from scheduler.keeping import StoredEffects
from tests.support.attempts import an_attempt
from tests.support.faulty_client import Fault, between, not_sent, reply_lost
from tests.support.lab import Lab, dag
from tests.support.servers import Server
from tests.support.waiting import wait_until_async


class Desk:
    """A pod that works on one task, without loops."""

    def __init__(self, lab: Lab, context: TaskContext, holdings: Holdings, keeper: StoredEffects) -> None:
        self.lab, self.context, self.holdings, self.keeper = lab, context, holdings, keeper
        self.held = holdings.get(context.claim_id)

    def events(self) -> list[str]:
        return [event.split(" ")[0] for event in self.lab.events(self.context.run_id) if event.startswith("effect")]


@pytest_asyncio.fixture
async def desk(server: Server, namespace: str) -> AsyncGenerator[Desk]:
    lab = await Lab.open(server.url, namespace)
    pod, holdings = lab.pod("p1"), Holdings(10, processes=1)
    run_id = await lab.create(dag(a=""))
    claim = await pod.claim_one()
    holdings.add(Held(claim, 0, attempt=an_attempt("task_a")))
    keeper = StoredEffects(holdings, lab.store.partitions, result_bytes=1000)
    context = TaskContext(run_id=run_id, task_id="a", claim_id=claim.claim_id, effects=keeper)
    yield Desk(lab, context, holdings, keeper)
    keeper.close()
    await lab.tidy()
    await lab.close()


async def test_code_whose_claim_is_not_current_loses_its_lease_before_and_after_the_effect(desk: Desk) -> None:
    effect = desk.context.once("charge")
    await effect.__aenter__()
    judge = desk.lab.pod("p2")
    desk.lab.bury(desk.lab.pods[0])
    await judge.reap()
    with pytest.raises(LeaseLost):
        await effect.__aexit__(None, None, None)
    with pytest.raises(LeaseLost):
        await desk.context.once("mail").__aenter__()
    assert not effect.confirmed
    assert desk.events() == ["effect_sent"]


async def test_code_whose_run_has_ended_loses_its_lease(desk: Desk) -> None:
    await desk.lab.cancel(desk.context.run_id)
    with pytest.raises(LeaseLost):
        await desk.context.once("charge").__aenter__()


async def test_code_whose_pod_has_dropped_its_claim_loses_its_lease_without_a_call(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.holdings.drop(desk.context.claim_id)
    client = between(monkeypatch, desk.lab.store)
    with pytest.raises(LeaseLost):
        await desk.context.once("charge").__aenter__()
    assert client.calls == []


async def test_a_task_with_too_many_names_is_told_the_limit(desk: Desk) -> None:
    for number in range(EFFECTS_PER_TASK):
        async with desk.context.once(f"n{number}"):
            pass
    with pytest.raises(EffectRefused, match="64 other names"):
        await desk.context.once("one-more").__aenter__()


async def test_two_blocks_of_one_name_confirm_once(desk: Desk) -> None:
    async def work() -> None:
        async with desk.context.once("charge") as outer, desk.context.once("charge") as inner:
            assert (outer.unknown, inner.unknown) == (False, True)
            outer.result, inner.result = 1, 2

    with pytest.raises(EffectRefused, match="another block of this name"):
        await work()
    async with desk.context.once("charge") as known:
        assert known.result == 2


@pytest.mark.parametrize("faults", [[not_sent, not_sent], [reply_lost], [reply_lost, not_sent, reply_lost]])
async def test_while_storage_is_away_the_same_operation_is_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]
) -> None:
    client = between(monkeypatch, desk.lab.store)
    client.plan = {"begin_effect": list(faults), "confirm_effect": list(faults)}
    async with desk.context.once("charge") as effect:
        assert not effect.unknown
    assert desk.events() == ["effect_sent", "effect_confirmed"]
    assert client.calls.count("begin_effect") == len(faults) + 1


async def test_waiting_for_storage_is_no_lack_of_progress_and_changes_nothing_that_was_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.held is not None
    assert desk.held.attempt is not None
    attempt = desk.held.attempt
    attempt.beat({"rows": 3})
    seen = attempt.progress_seen
    async with desk.context.once("charge"):
        assert attempt.progress_seen == seen
        between(monkeypatch, desk.lab.store).plan = {"confirm_effect": [not_sent]}
    assert attempt.progress_seen > seen
    assert attempt.progress == {"rows": 3}


async def test_an_attempt_that_is_stopped_waits_for_storage_no_longer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = between(monkeypatch, desk.lab.store)
    client.plan = {"begin_effect": [not_sent] * 1000}

    def work() -> str:
        with pytest.raises(LeaseLost), desk.context.once("charge"):
            raise AssertionError("the block must not run")
        return "heard"

    working = asyncio.create_task(asyncio.to_thread(work))
    await wait_until_async(lambda: client.calls.count("begin_effect") > 1, "the call is repeated")
    desk.context.cancel()
    assert await working == "heard"


async def test_an_attempt_whose_time_is_over_may_still_say_once_what_has_happened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk.context.once("charge"):
        desk.context.cancel()
    assert desk.events() == ["effect_sent", "effect_confirmed"]
    with pytest.raises(LeaseLost):
        await desk.context.once("mail").__aenter__()
    between(monkeypatch, desk.lab.store).plan = {"confirm_effect": [not_sent]}
    late = TaskContext(run_id=desk.context.run_id, task_id="a", claim_id=desk.context.claim_id, effects=desk.keeper)
    with pytest.raises(LeaseLost):
        async with late.once("fax"):
            late.cancel()
    assert desk.events() == ["effect_sent", "effect_confirmed", "effect_sent"]


async def test_code_that_is_cancelled_while_it_confirms_has_confirmed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effect has happened: whether it is recorded does not depend on the moment of a timeout."""
    confirming, go = asyncio.Event(), asyncio.Event()

    async def slow(call: Any) -> Any:
        confirming.set()
        await go.wait()
        return await call()

    between(monkeypatch, desk.lab.store).plan = {"confirm_effect": [slow]}

    async def work() -> None:
        async with desk.context.once("charge"):
            pass

    working = asyncio.create_task(work())
    await confirming.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    go.set()
    await wait_until_async(lambda: desk.events() == ["effect_sent", "effect_confirmed"], "the effect is confirmed")


async def test_code_that_is_cancelled_while_it_announces_leaves_its_block_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    beginning, never = asyncio.Event(), asyncio.Event()

    async def hangs(call: Any) -> Any:
        beginning.set()
        await never.wait()
        return await call()

    between(monkeypatch, desk.lab.store).plan = {"begin_effect": [hangs]}
    working = asyncio.create_task(desk.context.once("charge").__aenter__())
    await beginning.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    async with desk.context.once("charge") as effect:
        assert not effect.unknown
    assert desk.events() == ["effect_sent", "effect_confirmed"]


async def test_closing_ends_every_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = between(monkeypatch, desk.lab.store)
    client.plan = {"begin_effect": [not_sent] * 1000}

    def work() -> str:
        with pytest.raises(LeaseLost), desk.context.once("charge"):
            raise AssertionError("the block must not run")
        return "heard"

    working = asyncio.create_task(asyncio.to_thread(work))
    await wait_until_async(lambda: client.calls, "the call was made")
    desk.keeper.close()
    assert await working == "heard"


async def test_closing_ends_a_wait_that_is_just_beginning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = between(monkeypatch, desk.lab.store)
    client.plan = {"begin_effect": [not_sent] * 1000}
    closing = threading.Event()

    def slowly(*call: Any) -> Future[Any]:
        # The thread stands still where its call is under way and it knows nothing of it yet.
        answer = asyncio.run_coroutine_threadsafe(*call)
        closing.wait(0.3)
        return answer

    monkeypatch.setattr(keeping, "run_coroutine_threadsafe", slowly)
    working = asyncio.create_task(asyncio.to_thread(desk.context.once("charge").__enter__))
    await wait_until_async(lambda: client.calls, "the call was made")
    desk.keeper.close()
    closing.set()
    with pytest.raises(LeaseLost):
        await working


async def test_a_closed_keeper_gives_nothing(desk: Desk) -> None:
    desk.keeper.close()
    with pytest.raises(LeaseLost):
        await asyncio.to_thread(desk.context.once("charge").__enter__)
    assert desk.events() == []


def test_after_the_end_of_its_loop_a_keeper_gives_nothing() -> None:
    async def made() -> StoredEffects:
        return StoredEffects(Holdings(1, processes=1), [], result_bytes=1)

    keeper = asyncio.run(made())
    with pytest.raises(LeaseLost), TaskContext(claim_id="c", effects=keeper).once("charge"):
        raise AssertionError("the block must not run")
