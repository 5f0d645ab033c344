"""Who did what to runs: written by the call that does it, in order, of bounded length, and only for callers with names."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import IdempotencyConflict, RunAlreadyFinished
from storage.store import Store
from storage.views import AccessView, NewRun
from tests.support.key_leaks import KeyLeaks
from tests.support.lab import Lab, dag
from tests.support.servers import Server


async def everything(store: Store, limit: int, **filters: Any) -> list[AccessView]:
    """All pages, one after the other."""
    entries: list[AccessView] = []
    cursor: str | None = None
    while True:
        page = await store.access_log.read(cursor=cursor, limit=limit, **filters)
        assert len(page.entries) <= limit
        entries += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return entries


async def told(lab: Lab, **filters: Any) -> list[tuple[str, str, str, str, str]]:
    """Caller, tenant, action, run and outcome, newest first."""
    entries = await everything(lab.store, 100, **filters)
    return [(entry.caller, entry.tenant, entry.action, lab.narrator.named(entry.run_id), entry.outcome) for entry in entries]


async def test_cancelling_by_name_changes_the_run_and_notes_who_it_was(lab: Lab) -> None:
    lab.pod("p1")
    run_id = await lab.create(dag(a=""), tenant="blue")
    before = lab.raw()
    with lab.moment():
        await lab.store.cancel(run_id, "enough", caller="ann")
    until = {"(until)": "+t+3600000"}
    assert lab.changes(before) == {
        "run:R1": {"state": "running → cancelled", "finished": "+t", "reason": "+enough"} | until,
        "run:R1:events": {"3": "+t run_cancelled enough\tann"} | until,
        "run:R1:tasks": until,
        "run:R1:graph": until,
        "timers": {"unlist R1 blue": "+t+3600000", "sweep R1 0": "+t"},
        "audits": {"R1": "-t"},
        "access": {"1": "+t caller ann tenant blue action cancel run R1 outcome cancelled"},
        "inbox:p1": {"1": "+stop R1", "(until)": "+t+60000"},
    }


async def test_every_deed_of_a_caller_with_a_name_is_noted_and_so_is_what_was_tried_in_vain(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""), key="k", tenant="blue", caller="ann")
    await lab.create(dag(a=""), key="k", tenant="blue", caller="bob")
    with pytest.raises(IdempotencyConflict):
        await lab.create(dag(a=""), key="k", body="other", tenant="blue", caller="cid")
    await lab.store.cancel(run_id, "enough", caller="dan")
    await lab.store.cancel(run_id, "again", caller="eve")
    ended = await lab.create(dag(a=""), caller="fay")
    await pod.succeed(await pod.claim_one())
    before = lab.raw()
    with pytest.raises(RunAlreadyFinished), lab.moment():
        await lab.store.cancel(ended, caller="gus")
    assert lab.changes(before).keys() == {"access"}
    assert await told(lab) == [
        ("gus", "default", "cancel", "R2", "already succeeded"),
        ("fay", "default", "submit", "R2", "created"),
        ("eve", "blue", "cancel", "R1", "already cancelled"),
        ("dan", "blue", "cancel", "R1", "cancelled"),
        ("cid", "blue", "submit", "R1", "conflict"),
        ("bob", "blue", "submit", "R1", "existing"),
        ("ann", "blue", "submit", "R1", "created"),
    ]
    assert {entry[0] for entry in await told(lab, tenant="default")} == {"gus", "fay"}


async def test_nothing_is_noted_of_callers_without_names(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""), key="k", tenant="blue")
    await lab.create(dag(a=""), key="k", tenant="blue")
    await lab.store.cancel(run_id)
    await lab.store.cancel(run_id)
    assert "access" not in lab.raw()


async def test_a_creation_that_is_repeated_after_a_lost_reply_is_noted_once(lab: Lab) -> None:
    arguments = ["01890000-0000-7000-8000-000000000001", "body", "", 1, 3_600_000, "continue", 0, "", "", "packed"]
    for _ in range(2):
        lab.call("create_run", *arguments, "0 1 - 0 default/task_a", "", 0, "", "blue", "ann", 100)
    assert len(await told(lab)) == 1


async def test_events_of_a_run_say_who_created_and_who_cancelled_it(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""), caller="ann of accounts")
    await lab.store.cancel(run_id, "wrong day", caller="bob")
    events = await lab.store.get_events(run_id, after=0, limit=10)
    assert [(event.type, event.detail, event.caller) for event in events] == [
        ("run_created", None, "ann of accounts"),
        ("task_ready", None, None),
        ("run_cancelled", "wrong day", "bob"),
    ]
    assert (await lab.store.get_run(run_id)).reason == "wrong day"


async def test_the_log_keeps_about_as_many_entries_as_it_is_told(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    await lab.cancel(run_id)
    for _ in range(500):
        lab.call("cancel", run_id, "again", "ann", 100)
    # Redis drops whole nodes of a stream, of a hundred entries each.
    assert 100 <= lab.client.xlen(lab.key("access")) < 300


async def test_pages_of_several_partitions_hold_every_entry_once_newest_first(server: Server, namespace: str, key_leaks: KeyLeaks) -> None:
    key_leaks.allow("*", "runs that nobody ends")
    store = await Store.open(server.url, namespace=namespace, partitions=3)
    definition = WorkflowDefinition.model_validate(dag(a=""))
    graph = compile_definition(definition)
    made = [
        (await store.create_run(NewRun(definition, graph, tenant="blue" if number % 3 else "red", caller=f"c{number}"))).run_id
        for number in range(60)
    ]
    for limit in (1, 7, 60, 100):
        entries = await everything(store, limit)
        assert sorted(entry.run_id for entry in entries) == sorted(made)
        assert [entry.at_ms for entry in entries] == sorted((entry.at_ms for entry in entries), reverse=True)
    assert {entry.tenant for entry in await everything(store, 7, tenant="red")} == {"red"}
    assert len(await everything(store, 7, tenant="red")) == 20
    await store.close()


async def test_a_search_that_finds_nothing_looks_at_a_bounded_number_of_entries_a_page(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.access_log.ROWS", 20)
    monkeypatch.setattr("storage.access_log.LOOKED", 60)
    run_id = await lab.create(dag(a=""), tenant="blue")
    await lab.cancel(run_id)
    for _ in range(100):
        lab.call("cancel", run_id, "again", "ann", 10_000)
    page = await lab.store.access_log.read(tenant="red")
    assert page.entries == []
    assert page.next_cursor is not None
    rest = await lab.store.access_log.read(tenant="red", cursor=page.next_cursor)
    assert (rest.entries, rest.next_cursor) == ([], None)


@pytest.mark.parametrize("cursor", ["", "x", "1-1", "1.1", "-1-1.0", "1-1.0.0", "9" * 5_000 + "-1.0"])
async def test_a_cursor_that_no_page_gave_is_refused(lab: Lab, cursor: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says: the API makes the message
        await lab.store.access_log.read(cursor=cursor)
