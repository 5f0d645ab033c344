"""Nothing of a run that has ended stays for ever, and nothing of a run that goes on goes away."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any, cast

import pytest

from engine.errors import RunNotFound
from storage.task_logs import Batch, LogCaps
from tests.support.lab import Lab, dag
from tests.support.waiting import wait_until_async


def kept_for_ever(lab: Lab, run_id: str) -> set[str]:
    return {key for key, (_, until) in lab.raw().items() if run_id in key and until < 0}


async def eventful(lab: Lab, **fields: Any) -> str:
    """A run with every kind of key: a retried task, an announced effect, a join that is half decided, a running and a ready task."""
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="", d="", join="a b c") | fields, key="k")
    a, b, c = await pod.claim(3)
    assert await lab.partition.begin_effect(lab.op(), c.ref, "charge", again=True) == ("new", "")
    assert await lab.partition.append_log(run_id, "p1", [Batch(c.index, c.attempt, "op", 0, 0, b"[]")], LogCaps()) == ["OK"]
    await pod.commit(pod.end(a), pod.end(b, "retry", delay_ms=60_000))
    return run_id


ALL = {"", ":tasks", ":events", ":graph", ":edges", ":attempts", ":effects", ":log", ":logged"}


async def test_a_run_that_goes_on_keeps_all_its_keys(lab: Lab) -> None:
    run_id = await eventful(lab)
    assert kept_for_ever(lab, run_id) == {f"run:{run_id}{suffix}" for suffix in ALL}


@pytest.mark.parametrize(("retention", "expected"), [(None, 3_600_000), (1.5, 1_500), (315_360_000, 315_360_000_000)])
async def test_all_keys_of_a_cancelled_run_end_together(lab: Lab, retention: float | None, expected: int) -> None:
    run_id = await eventful(lab, retention=retention)
    await lab.cancel(run_id)
    untils = {until for key, (_, until) in lab.raw().items() if run_id in key or key.startswith("idempotency:")}
    finished = int(lab.run_field(run_id, "finished") or 0)
    assert untils == {finished + expected}
    assert kept_for_ever(lab, run_id) == set()
    due = lab.client.zscore(lab.key("timers"), f"forget {run_id}")
    assert int(str(due).split(".", maxsplit=1)[0]) == finished + expected


@pytest.mark.parametrize("how", ["succeeded", "failed", "stopped"])
async def test_all_keys_of_a_run_that_ended_by_itself_go_away(lab: Lab, how: str) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(on_failure="stop" if how == "stopped" else "continue", a="", b="", c="a b", d=""), key="k")
    a, b, d = await pod.claim()
    if how == "stopped":
        await pod.succeed(a)
        await pod.fail(b)
    else:
        await pod.commit(pod.end(a), pod.end(b, "succeeded" if how == "succeeded" else "failed"), pod.end(d))
        if how == "succeeded":
            await pod.succeed(await pod.claim_one())
        await pod.pass_everything_on()
    assert lab.run_field(run_id, "state") == ("succeeded" if how == "succeeded" else "failed")
    assert kept_for_ever(lab, run_id) == set()


async def test_what_comes_in_after_the_end_brings_no_key_back_for_ever(lab: Lab) -> None:
    run_id = await eventful(lab)
    pod = lab.pods[0]
    await pod.claim()
    await lab.cancel(run_id)
    held = [ref.decode() for ref in cast("list[bytes]", lab.client.zrange(lab.keys.claims("p1"), 0, -1))]
    assert len(held) == 2
    lab.call("release", "p1", pod.who.capabilities_digest, "", *held)
    lab.bring_forward("retry")
    await pod.fire()
    assert kept_for_ever(lab, run_id) == set()


async def test_a_run_is_gone_when_its_retention_is_over_even_before_it_is_forgotten(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="") | {"retention": 1})
    await pod.succeed(await pod.claim_one())
    for key in [name for name in lab.raw() if run_id in name]:
        lab.client.pexpire(lab.key(key), 1)
    await wait_until_async(lambda: not [name for name in lab.raw() if run_id in name], "the run's keys have expired")
    assert (await lab.store.list_runs()).runs == []
    with pytest.raises(RunNotFound):
        await lab.store.get_run(run_id)
    with pytest.raises(RunNotFound):
        await lab.store.get_tasks(run_id, start=0, count=1)
    lab.bring_forward("forget")
    await pod.fire()
    assert lab.raw().keys() & {"runs", "timers"} == set()
