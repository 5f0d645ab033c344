"""A server that has no memory left: what would begin is refused without a trace, what is under way comes to its end."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from engine.errors import StorageRefused
from tests.support.lab import Lab, dag
from tests.support.redis_process import RedisProcess


@pytest.fixture
async def full(tmp_path: Path) -> AsyncGenerator[Lab]:
    """A lab on a server of its own, which a test fills with `no_memory`."""
    server = RedisProcess(tmp_path)
    server.start()
    lab = await Lab.open(server.url, "full")
    yield lab
    await lab.close()
    server.close()


def no_memory(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")


async def test_a_run_is_not_created(full: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.store.ANSWER_SECONDS", 0.1)
    no_memory(full.client)
    with full.unchanged(), pytest.raises(StorageRefused, match="maxmemory"):
        await full.create(dag(a=""), key="k")


async def test_a_part_of_a_definition_is_not_staged(full: Lab) -> None:
    no_memory(full.client)
    with full.unchanged(), pytest.raises(OutOfMemoryError):
        full.call("stage_run", "id", 0, b"part", 60_000)


async def test_nothing_is_claimed_and_nobody_is_reaped(full: Lab) -> None:
    pod, dead = full.pod("p1"), full.pod("p2")
    await full.create(dag(a="", b=""))
    await dead.claim_one()
    full.bury(dead)
    no_memory(full.client)
    with full.unchanged():
        with pytest.raises(StorageRefused):
            await pod.claim()
        with pytest.raises(StorageRefused):
            await pod.reap()


async def test_what_runs_is_kept_and_committed_and_the_run_ends(full: Lab) -> None:
    pod = full.pod("p1")
    run_id = await full.create(dag(a="", b="a", c="", d="", e={"retry": {"max_attempts": 2}}))
    claims = {claim.index: claim for claim in await pod.claim()}
    no_memory(full.client)
    pulse = pod.beat(*claims.values(), say=True)
    assert (pulse.standing, pulse.lost) == ("OK", [])
    assert await pod.release(claims[2]) == ["OK"]
    ends = [pod.end(claims[0]), pod.end(claims[3], "failed"), pod.end(claims[4], "retry", delay_ms=0)]
    settled = await pod.commit(*ends, want=2)
    assert settled.words == ["OK"] * 3
    await pod.fire()
    more = await pod.commit(*(pod.end(claim) for claim in settled.claims), want=5)
    await pod.succeed(*more.claims)
    assert full.run_field(run_id, "state") == "failed"
    assert set(full.states(run_id).values()) == {"succeeded", "failed"}


async def test_what_runs_can_begin_and_confirm_its_effects(full: Lab) -> None:
    await full.create(dag(a=""))
    claim = await full.pod("p1").claim_one()
    no_memory(full.client)
    op = full.op()
    assert await full.partition.begin_effect(op, claim.ref, "charge", again=True) == ("new", "")
    assert await full.partition.confirm_effect(op, claim.ref, "charge", "1") == "OK"


async def test_a_run_can_be_cancelled_and_a_pod_can_leave(full: Lab) -> None:
    pod = full.pod("p1")
    run_id = await full.create(dag(a="", b=""))
    claim = await pod.claim_one()
    no_memory(full.client)
    await full.cancel(run_id)
    assert await pod.succeed(claim) == ["TERMINAL"]
    for run, _, start in await pod.fire():
        assert await full.partition.sweep(run, start, None, "0 - 0 default/task_a 1 - 0 default/task_a") == "OK"
    assert await pod.release(leave=True) == []
    assert full.run_field(run_id, "state") == "cancelled"
    assert full.shown().keys() & {"lanes", "pods"} == set()


async def test_a_slice_that_is_due_is_passed_on(full: Lab) -> None:
    pod = full.pod("p1")
    run_id = await full.create(dag(a="", b="a", c="a"))
    await pod.commit(pod.end(await pod.claim_one(), budget=1))
    no_memory(full.client)
    assert await pod.pass_on(run_id, "0", 1) == ("OK", False)
    assert full.run_field(run_id, "ready") == "2"
