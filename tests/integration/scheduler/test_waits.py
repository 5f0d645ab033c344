"""Pods note why ready tasks stay in the queue: also those that cannot run them, once, and only where there is something to note."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from engine.errors import StorageUnavailable
from engine.reasons import Reason
from scheduler import waits
from scheduler.waits import WaitNoter, lane_notes
from storage.backlog import NOTES_PER_CALL
from tests.integration.storage.test_explain import describe, living
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod
from tests.support.waiting import wait_until_async

LANE = "default/rare"


@pytest.fixture
async def lab(valkey_url: str, namespace: str) -> AsyncGenerator[Lab]:
    lab = await Lab.open(valkey_url, namespace)
    yield lab
    await lab.tidy()
    await lab.close()


class Circumstances:
    """What the rest of a pod would tell its noter."""

    refused = False
    full = False
    asked = 0
    """How often the noter wanted to know whether the pod is full."""

    def is_full(self) -> bool:
        self.asked += 1
        return self.full


def noter(lab: Lab, pod: LabPod, given: Circumstances | None = None) -> WaitNoter:
    told = given or Circumstances()
    return WaitNoter(lab.partition.backlog, lab.store, pod.who, refused=lambda: told.refused, full=told.is_full)


def notes(lab: Lab, lane: str = LANE) -> list[str]:
    """Codes, and how long each lasted in whole seconds."""
    lines = cast("list[bytes]", lab.client.lrange(lab.keys.waits(lane), 0, -1))
    found = [line.decode().split() for line in lines]
    return [f"{code} {(int(to_ms) - int(from_ms)) // 1000}" for code, from_ms, to_ms in found]


async def waiting(lab: Lab, seconds: float, **task: str) -> str:
    """A run whose only task has been ready for so long."""
    run_id = await lab.create(dag(a={"task": "rare", **task}))
    grow_old(lab, seconds)
    return run_id


def grow_old(lab: Lab, seconds: float) -> None:
    for name in ["lanes", *(name for name in lab.raw() if name.startswith("lane:"))]:
        for member, score in cast("list[tuple[bytes, float]]", lab.client.zrange(lab.key(name), 0, -1, withscores=True)):
            lab.client.zadd(lab.key(name), {member: score - seconds * 1000})


async def test_a_pod_that_cannot_run_a_task_notes_that_nobody_can(lab: Lab) -> None:
    noting = noter(lab, living(lab))
    await waiting(lab, 20)
    assert await noting.run_once()
    assert notes(lab) == ["no_capable_pod 20"]
    assert await noting.run_once()
    assert len(notes(lab)) == 1


async def test_what_waits_for_less_than_a_second_is_not_noted_and_looked_at_again(lab: Lab) -> None:
    noting = noter(lab, living(lab))
    await lab.create(dag(a={"task": "rare"}))
    with lab.unchanged():
        assert await noting.run_once()


async def test_nothing_is_noted_where_nothing_waits_and_nobody_need_look_again(lab: Lab) -> None:
    noting = noter(lab, living(lab))
    with lab.unchanged():
        assert not await noting.run_once()


async def test_full_pods_are_noted_and_pods_with_room_are_not(lab: Lab) -> None:
    pod = living(lab, concurrency=1)
    await lab.create(dag(a="", b=""))
    claim = await pod.claim_one()
    grow_old(lab, 20)
    noting = noter(lab, pod)
    await noting.run_once()
    assert notes(lab, "default/task_a") == ["pod_capacity 20"]
    describe(lab, pod, concurrency=2)
    with lab.unchanged():
        assert await noting.run_once()
    await pod.succeed(claim)


async def test_a_change_of_the_reason_is_a_new_note(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "NOTED_MS", 0)
    noting = noter(lab, living(lab))
    await waiting(lab, 20)
    await noting.run_once()
    living(lab, "p2", catalog=[{"name": "rare"}], concurrency=0)
    await noting.run_once()
    assert [note.split()[0] for note in notes(lab)] == ["no_capable_pod", "pod_capacity"]


async def test_what_another_pod_has_just_noted_is_not_noted_again(lab: Lab) -> None:
    first, second = noter(lab, living(lab)), noter(lab, living(lab, "p2"))
    await waiting(lab, 20)
    await first.run_once()
    with lab.unchanged():
        assert await second.run_once()


async def test_a_pod_that_could_and_is_lost_was_there_until_it_was_last_heard_of(lab: Lab) -> None:
    able = living(lab, "p2", catalog=[{"name": "rare"}])
    noting = noter(lab, living(lab))
    await waiting(lab, 60)
    lab.set_deadline(able, -20_000)  # its TTL is 10 s: last heard of 30 s ago
    await noting.run_once()
    assert notes(lab) == ["no_capable_pod 30"]


async def test_the_first_claims_of_a_pod_have_waited_for_it(lab: Lab) -> None:
    """Nobody has noted it: the others, if there are any, were idle and have not looked yet."""
    run_id = await waiting(lab, 0)
    lab.client.hincrby(lab.keys.run(run_id), "created", -20_000)
    living(lab)
    pod = living(lab, "p2", catalog=[{"name": "rare"}])
    noting = noter(lab, pod)
    noting.found_waiting([await pod.claim_one()])
    await noting.run_once()
    assert notes(lab) == ["no_capable_pod 20"]


async def test_first_claims_that_others_could_have_made_have_not_waited_for_this_pod(lab: Lab) -> None:
    run_id = await waiting(lab, 0)
    lab.client.hincrby(lab.keys.run(run_id), "created", -20_000)
    living(lab, catalog=[{"name": "rare"}])
    pod = living(lab, "p2", catalog=[{"name": "rare"}])
    noting = noter(lab, pod)
    noting.found_waiting([await pod.claim_one()])
    with lab.unchanged():
        await noting.run_once()


async def test_an_outage_is_noted_for_all_lanes_once(lab: Lab) -> None:
    first, second = noter(lab, living(lab)), noter(lab, living(lab, "p2"))
    for noting, seconds in ((first, 30.0), (second, 29.0)):
        noting.outage(seconds)
        assert not await noting.run_once()
    assert notes(lab, "*") == ["storage 30"]
    with lab.unchanged():
        await first.run_once()


async def test_an_outage_that_is_over_while_a_look_is_under_way_is_noted_by_the_next(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    noting = noter(lab, living(lab))
    await waiting(lab, 20)
    pods = lab.store.pods

    async def and_redis_is_back() -> object:
        noting.outage(30.0)
        monkeypatch.undo()
        return await pods()

    monkeypatch.setattr(lab.store, "pods", and_redis_is_back)
    await noting.run_once()
    assert notes(lab, "*") == []
    await noting.run_once()
    assert notes(lab, "*") == ["storage 30"]


async def test_a_pod_that_alone_was_cut_off_notes_no_outage(lab: Lab) -> None:
    noting = noter(lab, living(lab))
    lab.set_deadline(living(lab, "p2"), 10_000 - 5_000)  # heard of 5 s ago
    noting.outage(30.0)
    with lab.unchanged():
        await noting.run_once()


async def test_a_server_that_takes_no_claims_is_noted_for_as_long_as_it_does(lab: Lab) -> None:
    given = Circumstances()
    noting = noter(lab, living(lab), given)
    given.refused = True
    assert await noting.run_once()
    assert await noting.run_once()
    assert notes(lab, "*") == ["refused 0"]
    given.refused = False
    assert not await noting.run_once()


async def test_a_full_pod_looks_by_itself_and_another_one_does_not(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "FULL_SECONDS", 0.02)
    monkeypatch.setattr(waits, "LOOK_SECONDS", 0.02)
    given = Circumstances()
    noting = noter(lab, living(lab), given)
    noting._pause_seconds = 0.02  # pyright: ignore[reportPrivateUsage]
    await waiting(lab, 20)
    loop = asyncio.create_task(noting.run())
    try:
        await wait_until_async(lambda: given.asked > 5, "the noter has had the time to look")
        assert notes(lab) == []
        given.full = True
        await wait_until_async(lambda: notes(lab) == ["no_capable_pod 20"], "a note")
    finally:
        loop.cancel()


async def test_a_look_that_fails_is_made_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "LOOK_SECONDS", 0.01)
    noting = noter(lab, living(lab))
    lanes, fails = lab.partition.backlog.lanes, [True, True]

    async def sometimes() -> object:
        if fails and fails.pop():
            raise StorageUnavailable("address", "gone")
        return await lanes()

    monkeypatch.setattr(lab.partition.backlog, "lanes", sometimes)
    await waiting(lab, 20)
    noting.outage(3.0)
    loop = asyncio.create_task(noting.run())
    try:
        await wait_until_async(lambda: notes(lab, "*") == ["storage 3"], "the outage is noted")
    finally:
        loop.cancel()


def test_a_look_notes_a_bounded_number_of_lanes() -> None:
    found = lane_notes({f"default/f{number}": 0 for number in range(300)}, [])
    assert len(found) == NOTES_PER_CALL
    assert {reason for reason, _ in found.values()} == {Reason.NO_CAPABLE_POD}


async def test_a_loop_ends_when_its_pod_does_although_a_look_loses_the_cancellation(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As redis-py does before Python 3.12 now and then."""
    noting, looks, reached = noter(lab, living(lab)), list[str](), asyncio.Event()
    lanes = lab.partition.backlog.lanes

    async def losing() -> object:
        looks.append("look")
        reached.set()
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            looks.append("lost")
        return await lanes()

    monkeypatch.setattr(lab.partition.backlog, "lanes", losing)
    await waiting(lab, 20)
    noting.outage(3.0)
    loop = asyncio.create_task(noting.run())
    await reached.wait()
    loop.cancel()
    await asyncio.wait([loop], timeout=10)
    assert loop.cancelled()
    assert looks == ["look"]
    assert notes(lab, "*") == ["storage 3"]
