"""What a look of the auditor does where the run moves meanwhile, its definition is lost, or storage is away."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import pytest

from engine.events import LimboRepaired
from scheduler.auditor import Auditor
from storage.store import Store
from tests.support.bench import Recorder
from tests.support.damage import auditor_of
from tests.support.lab import Lab, dag, fan


async def test_what_a_look_has_repaired_is_published_once_with_its_first_words(lab: Lab) -> None:
    pod, published = lab.pod("p1"), Recorder()
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(12)}))
    lab.client.delete(lab.key("lane:default/task_a"))
    auditor = auditor_of(lab, pod, published)
    await auditor.look(run_id)
    await auditor.look(run_id)
    what = tuple(f"{number} queue" for number in range(10))
    assert published.events == [LimboRepaired(pod_id="p1", run_id=run_id, repairs=12, what=what)]
    assert await lab.store.limbo_repairs() == 12


async def test_counts_of_a_run_that_moves_while_it_is_read_are_left_for_another_look(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.audits.TASKS_PER_CALL", 2)
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="", d="a b c"))
    lab.client.hset(lab.keys.run(run_id), "ready", 7)
    restore = lab.partition.restore

    async def move_meanwhile(*args: Any) -> Any:
        restored = await restore(*args)
        await pod.claim(1)
        return restored

    with monkeypatch.context() as patch:
        patch.setattr(lab.partition, "restore", move_meanwhile)
        assert await auditor_of(lab, pod).look(run_id) == []
    assert await auditor_of(lab, pod).look(run_id) == ["counts"]
    assert {state: lab.run_field(run_id, state) for state in ("ready", "running")} == {"ready": "1", "running": "2"}


async def test_a_slice_that_is_due_much_later_than_any_is_brought_forward(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.auditor.BUSY_SECONDS", 0)
    pod = lab.pod("p1")
    run_id = await lab.create(fan(6))
    await pod.commit(pod.end(await pod.claim_one(), budget=2))
    lab.client.zadd(lab.key("timers"), {f"edges {run_id} 0 2": lab.now_ms() + 3_600_000})
    assert await auditor_of(lab, pod).look(run_id) == ["slice 0 2"]
    assert await pod.fire() == [(run_id, "0", 2)]
    await pod.pass_on(run_id, "0", 2)
    assert await auditor_of(lab, pod).look(run_id) == []
    assert lab.run_field(run_id, "ready") == "6"


async def test_a_slice_that_is_under_way_is_waited_for_and_nothing_is_repaired(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.auditor.BUSY_SECONDS", 0)
    pod = lab.pod("p1")
    run_id = await lab.create(fan(6))
    await pod.commit(pod.end(await pod.claim_one(), budget=2))
    with lab.unchanged():
        assert await auditor_of(lab, pod).look(run_id) == []


async def test_a_run_without_a_definition_fails_once_nothing_of_it_moves(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    claim = await pod.claim_one()
    lab.client.delete(lab.keys.graph(run_id))
    stranger = await Store.open(lab.url, namespace=lab.keys.namespace)
    auditor = Auditor(stranger.partitions[0], pod.who, after_seconds=0.001, publisher=Recorder(), on_due=lambda: None)
    with lab.unchanged():
        assert await auditor.look(run_id) == []
    end = pod.end(claim)
    end.edges = ""
    await pod.commit(end)
    assert await auditor.look(run_id) == ["dead end"]
    run = await lab.store.get_run(run_id)
    assert (run.state.value, run.reason) == ("failed", "its definition is lost")
    await stranger.close()


async def test_a_run_whose_definition_this_version_cannot_read_is_left_to_others(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    lab.client.lset(lab.keys.graph(run_id), 0, "of a newer version")
    lab.client.delete(lab.key("lanes"), lab.key("lane:default/task_a"))
    stranger = await Store.open(lab.url, namespace=lab.keys.namespace)
    auditor = Auditor(stranger.partitions[0], lab.pod().who, after_seconds=0.001, publisher=Recorder(), on_due=lambda: None)
    with lab.unchanged():
        assert await auditor.look(run_id) == []
    await stranger.close()


@pytest.mark.parametrize("live", [0, 1])
async def test_a_round_says_how_long_to_wait_for_the_next(lab: Lab, live: int) -> None:
    auditor = Auditor(lab.partition, lab.pod().who, after_seconds=30, publisher=Recorder(), on_due=lambda: None)
    for _ in range(live):
        await lab.create(dag(a=""))
    if live:
        assert 20 <= await auditor.run_once() <= 21, "not longer than two thirds of the time, even where nothing is due"
    else:
        assert 30 <= await auditor.run_once() <= 31, "without live runs, none can be quiet before the whole time is over"
    if live:
        [run_id] = lab.graphs
        lab.client.zadd(lab.key("audits"), {run_id: lab.now_ms() - 29_500})
        lab.client.hset(lab.keys.run(run_id), "created", lab.now_ms() - 29_500)
        assert 1 <= await auditor.run_once() <= 2, "not sooner than a second"


async def test_a_round_without_storage_waits_and_raises_nothing(lab: Lab) -> None:
    away = Store("redis://127.0.0.1:1")
    auditor = Auditor(away.partitions[0], lab.pod().who, after_seconds=30, publisher=Recorder(), on_due=lambda: None)
    assert await auditor.run_once() == 5
    await away.close()


async def test_a_large_run_is_worked_out_beside_the_loop(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(fan(2_100))
    await pod.commit(pod.end(await pod.claim_one(), budget=0))
    lab.client.zrem(lab.key("timers"), f"edges {run_id} 0 0")
    assert len(await auditor_of(lab, pod).look(run_id)) == 2_100
