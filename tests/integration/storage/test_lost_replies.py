"""Calls whose reply was lost, and servers that have forgotten the scripts: the same answer, the same effect, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.errors import StorageUnavailable
from storage.partition import Settled
from storage.repeat import until_answered
from storage.scripts import NAMES, digest
from tests.support.faulty_client import Fault, between, not_sent, reply_lost
from tests.support.lab import Lab, dag


async def repeated(call: Callable[[], Awaitable[Settled]]) -> Settled:
    return await until_answered(call, within_seconds=5)


@pytest.mark.parametrize("faults", [[not_sent], [reply_lost], [reply_lost, reply_lost], [reply_lost, not_sent, reply_lost]])
async def test_a_claim_whose_reply_is_lost_is_given_again_and_charged_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]
) -> None:
    pod, op = lab.pod("p1"), lab.op()
    await lab.create(dag(a="", b="", c=""))
    between(monkeypatch, lab.store).plan["claim"] = list(faults)
    settled = await repeated(lambda: lab.partition.claim(op, pod.who, 2))
    assert [(claim.attempt, claim.lost) for claim in settled.claims] == [(1, 0), (1, 0)]
    assert lab.shown()["run:R1"].items() >= {"running": "2", "ready": "1"}.items()
    assert len(lab.shown()["claims:p1"]) == 2


@pytest.mark.parametrize("faults", [[not_sent], [reply_lost], [reply_lost, reply_lost]])
async def test_a_commit_whose_reply_is_lost_counts_once_and_brings_the_same_claims(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]
) -> None:
    pod, op = lab.pod("p1"), lab.op()
    run_id = await lab.create(dag(a="", b="a", c="a", d="b c"))
    end = pod.end(await pod.claim_one())
    between(monkeypatch, lab.store).plan["commit"] = list(faults)
    settled = await repeated(lambda: lab.partition.commit(op, pod.who, [end], 5))
    assert (settled.words, [claim.index for claim in settled.claims]) == (["OK"], [1, 2])
    assert lab.states(run_id) == {"a": "succeeded", "b": "running", "c": "running", "d": "pending"}
    assert lab.events(run_id).count("succeeded 0 1 p1") == 1


@pytest.mark.parametrize("fault", [not_sent, reply_lost])
async def test_a_cancel_whose_reply_is_lost_is_answered_as_done(lab: Lab, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    run_id = await lab.create(dag(a=""))
    between(monkeypatch, lab.store).plan["cancel"] = [fault]
    await lab.cancel(run_id)
    assert lab.run_field(run_id, "state") == "cancelled"
    assert lab.events(run_id).count("run_cancelled enough") == 1


async def test_a_server_that_stays_away_is_reported_as_unavailable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await lab.create(dag(a=""))
    monkeypatch.setattr("storage.store.ANSWER_SECONDS", 0.1)
    between(monkeypatch, lab.store).plan["cancel"] = [not_sent] * 50
    with lab.unchanged(), pytest.raises(StorageUnavailable):
        await lab.cancel(run_id)


def forget_scripts(lab: Lab) -> None:
    lab.client.script_flush()
    assert not any(lab.client.script_exists(*map(digest, NAMES)))


async def test_a_whole_run_goes_through_though_the_scripts_are_forgotten_before_each_call(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")

    async def forgotten(call: Callable[[], Awaitable[Any]]) -> Any:
        forget_scripts(lab)
        return await call()

    run_id = await forgotten(lambda: lab.create(dag(a="", b="a", c="a", d={"task": "echo"})))
    for _ in range(2):
        for claim in await forgotten(pod.claim):
            forget_scripts(lab)
            assert pod.beat(claim).lost == []
            assert await forgotten(lambda claim=claim: pod.release(claim)) == ["OK"]
            again = await forgotten(pod.claim_one)
            await forgotten(lambda again=again: pod.commit(pod.end(again, budget=1)))
        lab.bring_forward("edges")
        for slice_ in await forgotten(other.fire):
            await forgotten(lambda slice_=slice_: other.pass_on(*slice_))
    assert await forgotten(other.reap) is not None
    assert lab.run_field(run_id, "state") == "succeeded"
    cancelled = await lab.create(dag(a=""))
    await forgotten(lambda: lab.cancel(cancelled))
    assert await forgotten(lambda: lab.partition.sweep(cancelled, 0, None, "0 - 0 default/task_a")) == "OK"
