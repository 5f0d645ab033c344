"""Lists of runs, newest first, filtered, in pages that neither repeat nor miss a run."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.states import RunState
from storage.reading import SCAN_LIMIT
from storage.store import Store
from storage.views import NewRun, RunView
from tests.support.key_leaks import KeyLeaks
from tests.support.lab import Lab, dag
from tests.support.servers import Server


async def pages(store: Store, limit: int, **filters: Any) -> list[RunView]:
    """All pages, one after the other."""
    runs: list[RunView] = []
    cursor: str | None = None
    while True:
        page = await store.list_runs(cursor=cursor, limit=limit, **filters)
        assert len(page.runs) <= limit
        runs += page.runs
        cursor = page.next_cursor
        if cursor is None:
            return runs


def plant(lab: Lab, count: int, *, created_ms: int, step_ms: int = 1, **fields: str) -> list[str]:
    """Runs as they are stored, without going through `create_run`; newest last. They expire by themselves."""
    ids = [f"01890000-0000-7000-8000-{created_ms % 1000:04x}{number:08x}" for number in range(count)]
    with lab.client.pipeline(transaction=False) as pipeline:
        for number, run_id in enumerate(ids):
            created = created_ms + number * step_ms
            pipeline.hset(lab.keys.run(run_id), mapping={"state": "succeeded", "created": created, "total": 1, **fields})
            pipeline.pexpire(lab.keys.run(run_id), 60_000)
            pipeline.zadd(lab.keys.runs, {run_id: created})
        pipeline.execute()
    return ids


@pytest.mark.parametrize("limit", [1, 7, 50, 200, 450, 1_000])
async def test_pages_of_any_size_hold_every_run_once_newest_first(lab: Lab, limit: int) -> None:
    planted = plant(lab, 450 if limit > 1 else 30, created_ms=1_000_000)
    assert [run.run_id for run in await pages(lab.store, limit)] == planted[::-1]


async def test_runs_of_the_same_millisecond_are_all_listed(lab: Lab) -> None:
    planted = plant(lab, 650, created_ms=1_000_000, step_ms=0)
    assert [run.run_id for run in await pages(lab.store, 40)] == sorted(planted, reverse=True)


async def test_created_runs_are_listed_newest_first_with_what_they_are(lab: Lab) -> None:
    made = [await lab.create(dag(a="") | {"name": f"n{number}"}) for number in range(3)]
    runs = (await lab.store.list_runs()).runs
    assert {run.run_id for run in runs} == set(made)
    assert [run.created_at_ms for run in runs] == sorted((run.created_at_ms for run in runs), reverse=True)
    assert runs[0] == await lab.store.get_run(runs[0].run_id)


async def test_a_cursor_goes_on_where_it_was_though_runs_come_and_go(lab: Lab) -> None:
    planted = plant(lab, 20, created_ms=1_000_000)
    first = await lab.store.list_runs(limit=5)
    plant(lab, 3, created_ms=2_000_000)
    lab.client.delete(lab.keys.run(planted[-5]), lab.keys.run(planted[-6]))
    second = await lab.store.list_runs(limit=5, cursor=first.next_cursor)
    assert [run.run_id for run in [*first.runs, *second.runs]] == planted[-1:-6:-1] + planted[-7:-12:-1]


async def test_runs_are_found_by_state_name_and_label(lab: Lab) -> None:
    plant(lab, 250, created_ms=1_000_000)
    failed = plant(lab, 3, created_ms=2_000_100, state="failed", name="n")
    labelled = plant(lab, 3, created_ms=3_000_200, labels='{"team": "x", "env": "y"}', name="n")
    plant(lab, 250, created_ms=4_000_300)

    async def found(**filters: Any) -> list[str]:
        return [run.run_id for run in await pages(lab.store, 2, **filters)]

    assert await found(status=RunState.FAILED) == failed[::-1]
    assert await found(name="n") == (failed + labelled)[::-1]
    assert await found(label=("team", "x")) == labelled[::-1]
    assert await found(label=("team", "y")) == await found(name="m") == await found(status=RunState.CANCELLED) == []
    assert await found(name="n", label=("env", "y")) == labelled[::-1]
    assert await found(name="n", status=RunState.SUCCEEDED, label=("env", "y")) == labelled[::-1]


async def test_runs_are_found_by_time_with_both_ends_left_out(lab: Lab) -> None:
    planted = plant(lab, 10, created_ms=1_000_000)
    assert [run.run_id for run in await pages(lab.store, 3, after_ms=1_000_002, before_ms=1_000_007)] == planted[6:2:-1]
    assert [run.run_id for run in await pages(lab.store, 3, after_ms=1_000_007)] == planted[:7:-1]
    assert [run.run_id for run in await pages(lab.store, 3, before_ms=1_000_002)] == planted[1::-1]
    assert await pages(lab.store, 3, after_ms=1_000_009) == []


async def test_a_search_that_finds_nothing_looks_at_a_bounded_number_of_runs_a_page(lab: Lab) -> None:
    plant(lab, SCAN_LIMIT + 500, created_ms=1_000_000)
    page = await lab.store.list_runs(name="nobody", limit=10)
    assert page.runs == []
    assert page.next_cursor is not None
    rest = await lab.store.list_runs(name="nobody", limit=10, cursor=page.next_cursor)
    assert (rest.runs, rest.next_cursor) == ([], None)


async def test_entries_whose_runs_have_expired_are_passed_over(lab: Lab) -> None:
    planted = plant(lab, 600, created_ms=1_000_000)
    for run_id in planted[50:550]:
        lab.client.delete(lab.keys.run(run_id))
    assert [run.run_id for run in await pages(lab.store, 30)] == (planted[:50] + planted[550:])[::-1]


async def test_an_empty_store_has_one_empty_page(lab: Lab) -> None:
    page = await lab.store.list_runs()
    assert (page.runs, page.next_cursor) == ([], None)


@pytest.mark.parametrize("cursor", ["", "x", "1", ".", "1.5.x", "-1.", "1._", "nan.x", "9" * 5_000 + ".x"])
async def test_a_cursor_that_no_page_gave_is_refused(lab: Lab, cursor: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says: the API makes the message
        await lab.store.list_runs(cursor=cursor)


async def test_runs_of_several_partitions_are_listed_as_one(server: Server, namespace: str, key_leaks: KeyLeaks) -> None:
    key_leaks.allow("*", "runs that nobody ends")
    store = await Store.open(server.url, namespace=namespace, partitions=4)
    definition = WorkflowDefinition.model_validate(dag(a=""))
    graph = compile_definition(definition)
    made = [(await store.create_run(NewRun(definition, graph))).run_id for _ in range(60)]
    runs = await pages(store, 7)
    assert sorted(run.run_id for run in runs) == sorted(made)
    assert [run.created_at_ms for run in runs] == sorted((run.created_at_ms for run in runs), reverse=True)
    assert len({store.partition_for(run_id).keys.partition for run_id in made}) == 4
    await store.close()
