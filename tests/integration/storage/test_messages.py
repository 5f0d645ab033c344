"""What pods hear from each other: messages in their inboxes, and which runs a call has ended."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import StorageUnavailable
from storage.partition import operation_id
from tests.support.lab import Lab, dag
from tests.support.redis_process import RedisProcess


async def test_a_waiting_pod_gets_its_messages_in_order_and_all_at_once(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    assert await pod.claim() == []
    waiting = asyncio.create_task(lab.partition.wait_inbox("p1", 10))
    run_id = await lab.create(dag(a=""))
    assert await waiting == ["ready"]
    await lab.cancel(run_id)
    await lab.cancel(await lab.create(dag(a="")))
    first, second = await lab.partition.wait_inbox("p1", 1), await lab.partition.wait_inbox("p2", 1)
    assert first == second == [f"stop {run_id}", f"stop {list(lab.graphs)[1]}"]
    assert lab.take_inbox(other) == []


async def test_a_pod_that_hears_nothing_goes_on_after_its_time(lab: Lab) -> None:
    assert await lab.partition.wait_inbox("p1", 0.02) == []


async def test_a_pod_whose_server_goes_away_while_it_waits_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = RedisProcess(tmp_path_factory.mktemp("server"))
    server.start()
    lab = await Lab.open(server.url, "messages")
    waiting = asyncio.create_task(lab.partition.wait_inbox("p1", 10))
    await asyncio.wait([waiting], timeout=0.05)
    server.kill()
    with pytest.raises(StorageUnavailable):
        await waiting
    await lab.close()


async def test_the_call_that_ends_a_run_tells_its_pod_how(lab: Lab) -> None:
    heard: list[tuple[str, str]] = []
    lab.partition.on_run_ended = lambda run_id, state: heard.append((lab.narrator.named(run_id), state))
    pod, judge = lab.pod("p1"), lab.pod("p2")
    one, two = await lab.create(dag(a="")), await lab.create(dag(a="", b="a"))
    claims = {claim.run_id: claim for claim in await pod.claim()}
    op = lab.op()
    for _ in range(2):
        await pod.commit(pod.end(claims[one]), pod.end(claims[two], "failed"), op=op)
    assert sorted(heard) == [("R1", "succeeded"), ("R1", "succeeded"), ("R2", "failed"), ("R2", "failed")]
    del heard[:]
    await lab.create(dag(a="", b="a", c="b"))
    await pod.fail(await pod.claim_one())
    await pod.pass_everything_on()
    assert heard == [("R3", "failed")]
    await lab.create(dag(a=""))
    await pod.commit(pod.end(await pod.claim_one(), "sleep", "1", delay_ms=0))
    await pod.fire()
    await lab.create(dag(a=""))
    await pod.claim_one()
    lab.bury(pod)
    await judge.reap(max_lost=0)
    assert heard[1:] == [("R4", "succeeded"), ("R5", "failed")]


async def test_nobody_need_hear_how_runs_end(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.succeed(await pod.claim_one())
    assert lab.run_field(run_id, "state") == "succeeded"


def test_operation_ids_are_thirty_hex_digits_and_never_the_same() -> None:
    made = {operation_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(op) for op in made} == {30}
    assert set("".join(made)) <= set("0123456789abcdef")
