"""One idempotency key, one run: for repeated, concurrent and lost posts, for as long as the run is kept."""

from __future__ import annotations

import asyncio

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import IdempotencyConflict
from engine.states import RunState
from storage.store import Store
from storage.views import NewRun
from tests.support.expected import run_row
from tests.support.faulty_client import Fault, between, not_sent, reply_lost
from tests.support.lab import Lab, dag
from tests.support.servers import Server


async def run_ids(store: Store) -> list[str]:
    return [run.run_id for run in (await store.list_runs(limit=200)).runs]


@pytest.mark.parametrize("key", ["k", "", "with spaces\r\nand {braces} and ünïcödé", "k" * 10_000])
async def test_the_same_key_and_body_answer_the_same_run(lab: Lab, key: str) -> None:
    first = await lab.post(dag(a=""), key=key)
    with lab.unchanged():
        again = await lab.post(dag(a=""), key=key)
    assert (first.existing, again.existing) == (False, True)
    assert again.run_id == first.run_id


async def test_the_same_key_answers_the_state_that_the_run_has_by_now(lab: Lab) -> None:
    pod = lab.pod("p1")
    first = await lab.post(dag(a=""), key="k")
    await pod.succeed(await pod.claim_one())
    again = await lab.post(dag(a=""), key="k")
    assert (again.run_id, again.state) == (first.run_id, RunState.SUCCEEDED)


async def test_the_same_key_with_another_body_is_a_conflict_that_changes_nothing(lab: Lab) -> None:
    first = await lab.create(dag(a=""), key="k", body="one")
    with lab.unchanged(), pytest.raises(IdempotencyConflict) as refused:
        await lab.create(dag(a=""), key="k", body="two")
    assert (refused.value.key, refused.value.run_id) == ("k", first)


async def test_other_keys_and_no_key_make_runs_of_their_own(lab: Lab) -> None:
    made = [await lab.create(dag(a=""), key=key) for key in ("k", "K", None, None)]
    assert len(set(made)) == 4
    assert set(await run_ids(lab.store)) == set(made)


async def test_twenty_posts_at_once_make_one_run(lab: Lab, server: Server) -> None:
    stores = [await Store.open(server.url, namespace=lab.keys.namespace, retention_seconds=3_600) for _ in range(2)]
    definition = WorkflowDefinition.model_validate(dag(a=""))
    new = NewRun(definition, compile_definition(definition), "k", "body")
    created = await asyncio.gather(*(stores[number % 2].create_run(new) for number in range(20)))
    assert len({answer.run_id for answer in created}) == 1
    assert [answer.existing for answer in created].count(False) == 1
    assert await run_ids(lab.store) == [created[0].run_id]
    for store in stores:
        await store.close()


@pytest.mark.parametrize("fault", [not_sent, reply_lost])
@pytest.mark.parametrize("key", ["k", None])
async def test_a_post_that_is_cut_is_repeated_and_makes_one_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fault: Fault, key: str | None
) -> None:
    client = between(monkeypatch, lab.store)
    client.plan["create_run"] = [fault, fault]
    created = await lab.post(dag(a=""), key=key)
    assert client.calls == ["create_run"] * 3
    assert not created.existing
    assert await run_ids(lab.store) == [created.run_id]
    assert lab.shown()["run:R1"].items() >= run_row(1, ready=1).items()


async def test_the_key_is_free_again_when_its_run_is_gone(lab: Lab) -> None:
    pod = lab.pod("p1")
    first = await lab.create(dag(a=""), key="k")
    await pod.succeed(await pod.claim_one())
    for key in [name for name, (_, until) in lab.raw().items() if until >= 0 and name.startswith(("run:", "idempotency:"))]:
        lab.client.pexpire(lab.key(key), 0)
    second = await lab.post(dag(a=""), key="k", body="another body")
    assert (second.run_id != first, second.existing) == (True, False)


async def test_a_key_finds_its_run_in_every_number_of_partitions(server: Server, namespace: str) -> None:
    store = await Store.open(server.url, namespace=namespace, partitions=5)
    definition = WorkflowDefinition.model_validate(dag(a=""))
    graph = compile_definition(definition)
    for number in range(20):
        first = await store.create_run(NewRun(definition, graph, f"k{number}", "body"))
        again = await store.create_run(NewRun(definition, graph, f"k{number}", "body"))
        assert (again.run_id, again.existing) == (first.run_id, True)
        await store.cancel(first.run_id)
    assert len({store.partition_for(run_id).keys.partition for run_id in await run_ids(store)}) == 5
    for partition in store.partitions:
        for run_id in await run_ids(store):
            await partition.sweep(run_id, 0, None, "0 - 0 default/task_a")
    await store.close()
