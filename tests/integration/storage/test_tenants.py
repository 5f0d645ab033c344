"""A run is its tenant's: with its idempotency key, in a list of its own, until it is forgotten."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import pytest

from engine.errors import IdempotencyConflict, RunNotFound
from storage.owners import Owners
from tests.integration.storage.test_listing import pages, plant
from tests.support.expected import numbered, run_row
from tests.support.lab import Lab, dag


async def test_a_run_of_a_tenant_appears_whole_and_in_the_tenant_s_list(lab: Lab) -> None:
    assert lab.shown() == {}
    await lab.create(dag(a=""), key="k", tenant="blue", caller="ann")
    assert lab.shown() == {
        "run:R1": run_row(1, ready=1, idempotency="digest of k", tenant="blue", caller="ann"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created \tann", "t ready 0 - -"),
        "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
        "runs": {"R1": "t"},
        "runs:blue": {"R1": "t"},
        "access": numbered("t caller ann tenant blue action submit run R1 outcome created"),
        "audits": {"R1": "t"},
        "idempotency:digest of k": {"value": "R1 body"},
        "lanes": {"default/task_a": "0 t"},
        "lane:default/task_a": {"R1 0 -": "0 t"},
    }


async def test_a_run_of_the_default_tenant_without_a_caller_is_written_as_ever(lab: Lab) -> None:
    await lab.create(dag(a=""), key="k")
    shown = lab.shown()
    assert "access" not in shown
    assert [key for key in shown if key.startswith("runs")] == ["runs"]
    assert shown["run:R1"] == run_row(1, ready=1, idempotency="digest of k")


async def test_the_same_key_in_two_tenants_gives_two_runs(lab: Lab) -> None:
    blue = await lab.create(dag(a=""), key="k", tenant="blue")
    red = await lab.create(dag(a=""), key="k", tenant="red")
    nobody = await lab.create(dag(a=""), key="k")
    assert len({blue, red, nobody}) == 3
    assert await lab.create(dag(a=""), key="k", tenant="blue") == blue
    assert await lab.create(dag(a=""), key="k") == nobody
    with pytest.raises(IdempotencyConflict) as refused:
        await lab.create(dag(a=""), key="k", body="other", tenant="red")
    assert refused.value.run_id == red


async def test_what_a_run_is_says_whose_it_is_and_who_started_it(lab: Lab) -> None:
    theirs = await lab.store.get_run(await lab.create(dag(a=""), tenant="blue", caller="ann"))
    assert (theirs.tenant, theirs.created_by) == ("blue", "ann")
    run = await lab.store.get_run(await lab.create(dag(a="")))
    assert (run.tenant, run.created_by) == ("default", None)


async def test_the_list_of_a_tenant_has_its_runs_alone_newest_first(lab: Lab) -> None:
    made: dict[str, list[str]] = {"blue": [], "red": [], "default": []}
    for tenant in ("blue", "red", "default", "red", "blue", "blue"):
        made[tenant].append(await lab.create(dag(a=""), tenant=tenant))
    for tenant, runs in made.items():
        assert {run.run_id for run in await pages(lab.store, 2, tenant=tenant)} == set(runs)
    assert {run.run_id for run in await pages(lab.store, 2)} == {run_id for runs in made.values() for run_id in runs}
    assert await pages(lab.store, 2, tenant="green") == []


async def test_a_page_of_a_tenant_with_few_runs_reads_only_those(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(lab, 3_000, created_ms=1_000_000)
    mine = await lab.create(dag(a=""), tenant="blue")
    plant(lab, 3_000, created_ms=lab.now_ms() + 1_000)
    read: list[int] = []
    whole = lab.store._runs  # pyright: ignore[reportPrivateUsage]

    async def counted(ids: list[tuple[int, str]]) -> object:
        read.append(len(ids))
        return await whole(ids)

    monkeypatch.setattr(lab.store, "_runs", counted)
    page = await lab.store.list_runs(tenant="blue", limit=10)
    assert ([run.run_id for run in page.runs], page.next_cursor) == ([mine], None)
    assert read == [1]


async def test_a_cursor_of_one_tenant_s_list_shows_another_nothing_of_it(lab: Lab) -> None:
    for _ in range(3):
        await lab.create(dag(a=""), tenant="blue")
    cursor = (await lab.store.list_runs(tenant="blue", limit=1)).next_cursor
    assert [run.run_id for run in (await lab.store.list_runs(tenant="red", cursor=cursor)).runs] == []


async def test_a_run_that_has_ended_leaves_the_tenant_s_list_with_its_retention(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""), tenant="blue")
    other = await lab.create(dag(a=""), tenant="blue")
    unnamed = await lab.create(dag(a=""))
    for ended in (run_id, other, unnamed):
        await lab.cancel(ended)
    assert {member for member in lab.shown()["timers"] if not member.startswith("sweep")} == {
        "unlist R1 blue",
        "unlist R2 blue",
        "forget R3",
    }
    lab.bring_forward(f"unlist {run_id}", "forget")
    before = lab.raw()
    await lab.pod("p1").fire()
    changed = lab.changes(before)
    assert (changed["runs"], changed["runs:blue"]) == ({"R1": "-t", "R3": "-t"}, {"R1": "-t"})
    lab.bring_forward("unlist")
    await lab.pod("p1").fire()
    assert not [key for key in lab.shown() if key.startswith("runs")]


async def test_the_tenant_of_a_run_is_asked_once_and_an_unknown_run_has_none(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""), tenant="blue")
    unnamed = await lab.create(dag(a=""))
    lab.store.owners = Owners()
    assert (await lab.store.tenant_of(run_id), await lab.store.tenant_of(unnamed)) == ("blue", "default")
    lab.clear()
    assert (await lab.store.tenant_of(run_id), await lab.store.tenant_of(unnamed)) == ("blue", "default")
    for unknown in ("01890000-0000-7000-8000-000000000001", "no run id"):
        with pytest.raises(RunNotFound):
            await lab.store.tenant_of(unknown)


def test_only_so_many_owners_are_remembered_those_asked_for_last() -> None:
    owners = Owners(remembered=2)
    owners.put("a", "blue")
    owners.put("b", "red")
    assert owners.get("a") == "blue"
    owners.put("c", "green")
    assert [owners.get(run_id) for run_id in "abc"] == ["blue", None, "green"]
