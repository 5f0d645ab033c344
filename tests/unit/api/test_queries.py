"""Query parameters: wrong values, unknown names and foreign cursors are refused with their place; right ones reach the store."""

from __future__ import annotations

import pytest

from engine.states import RunState
from peerflow.api.params import read_cursor, write_cursor
from peerflow.api.problem import RequestRefused
from tests.support.canned_store import RUN_ID
from tests.unit.api.conftest import Pod

WRONG = [
    ("/runs?limit=0", "query/limit", "give a number from 1 to 1000"),
    ("/runs?limit=1001", "query/limit", "give a number from 1 to 1000"),
    ("/runs?limit=ten", "query/limit", "give a number from 1 to 1000"),
    ("/runs?limit=1&limit=2", "query/limit", "give it once"),
    ("/runs?limt=1", "query/limt", "did you mean limit?"),
    ("/runs?x=1", "query/x", "known here: status, name, label, tenant, created_after, created_before, cursor, limit"),
    ("/runs?status=done", "query/status", "give 'scheduled', 'running', 'paused', 'succeeded', 'failed' or 'cancelled'"),
    ("/runs?name=", "query/name", "give a name of 1 to 256 characters"),
    ("/runs?label=team", "query/label", "give key=value"),
    ("/runs?tenant=", "query/tenant", "give the name of a tenant, 1 to 128 characters"),
    ("/runs?created_after=yesterday", "query/created_after", "give an instant with its time zone"),
    ("/runs?created_after=2026-01-01T00:00:00", "query/created_after", "give an instant with its time zone"),
    ("/runs?created_before=2026-01-01T00:00:00+02:00", "query/created_before", "give an instant with its time zone"),
    ("/runs?cursor=%00", "query/cursor", "give the next_cursor of the page before"),
    ("/runs?cursor=!!!!", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs?cursor={'A' * 513}", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs?cursor={write_cursor('tasks', '1')}", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs?cursor={write_cursor('runs', 'broken')}", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs/{RUN_ID}?verbose=1", "query/verbose", "leave it out"),
    (f"/runs/{RUN_ID}/tasks?status=paused", "query/status", "give 'pending', 'ready'"),
    (f"/runs/{RUN_ID}/tasks?cursor={write_cursor('runs', '1.x')}", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs/{RUN_ID}/tasks?cursor={write_cursor('tasks', '-1')}", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs/{RUN_ID}/tasks?cursor={write_cursor('tasks', '9' * 30)}", "query/cursor", "give the next_cursor of the page before"),
    (f"/workflow_status/{RUN_ID}?cursor=x", "query/cursor", "give the next_cursor of the page before"),
    (f"/runs/{RUN_ID}/events?after=-1", "query/after", "give the sequence number of the last event seen"),
    (f"/runs/{RUN_ID}/events?after=99999999999999999999", "query/after", "give the sequence number of the last event seen"),
    ("/tasks?all=1", "query/all", "leave it out"),
    ("/pods?all=1", "query/all", "leave it out"),
]


@pytest.mark.parametrize(("path", "pointer", "remedy"), WRONG, ids=[path[:60] for path, _, _ in WRONG])
async def test_a_wrong_query_is_refused_with_its_place_and_remedy(pod: Pod, path: str, pointer: str, remedy: str) -> None:
    problem = await pod.refused("GET", path, 400)
    assert problem.errors[0].pointer == pointer
    assert problem.errors[0].remedy.startswith(remedy)
    assert not {"get_tasks", "get_events", "get_run", "pods", "functions"} & set(pod.store.calls)


async def test_all_wrong_parameters_come_at_once(pod: Pod) -> None:
    problem = await pod.refused("GET", "/runs?limit=0&status=done", 400)
    assert [item.pointer for item in problem.errors] == ["query/status", "query/limit"]
    assert problem.detail == 'status ("done") is not valid; 1 more problem'


async def test_filters_reach_the_store(pod: Pod) -> None:
    cursor = write_cursor("runs", "17.x")
    await pod.get(
        f"/runs?status=failed&name=etl&label=team=a=b&tenant=blue&created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T02:00:00.5%2B02:00"
        f"&cursor={cursor}&limit=7"
    )
    assert pod.store.list_arguments == {
        "status": RunState.FAILED,
        "name": "etl",
        "label": ("team", "a=b"),
        "tenant": "blue",
        "after_ms": 1_767_225_600_000,
        "before_ms": 1_767_225_600_500,
        "cursor": "17.x",
        "limit": 7,
    }


async def test_the_store_s_cursor_comes_back_wrapped(pod: Pod) -> None:
    pod.store.next_cursor = "17.x"
    cursor = (await pod.get("/runs"))["next_cursor"]
    assert read_cursor("runs", cursor) == "17.x"


async def test_the_list_of_runs_is_closed_without_debug_and_says_how_to_open_it(closed_pod: Pod) -> None:
    for path in ("/runs", "/runs?limit=0", "/runs?x=1"):
        problem = await closed_pod.refused("GET", path, 403)
        assert "DEBUG=true" in problem.errors[0].remedy
    assert closed_pod.store.calls == []


@pytest.mark.parametrize("kind", ["runs", "tasks"])
@pytest.mark.parametrize("place", ["0", "1767225600000.01890a5d-ac96-774b-bcce-b302099a8057", ""])
def test_a_cursor_is_read_as_it_was_written(kind: str, place: str) -> None:
    cursor = write_cursor(kind, place)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert read_cursor(kind, cursor) == place


@pytest.mark.parametrize("cursor", ["", "A", "AAAA", "é", "cnVuczox=", "cnVuczox====", "cnVucz ox", "cnVuczox\n"])
def test_what_no_list_gave_is_no_cursor(cursor: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        read_cursor("runs", cursor)
    assert caught.value.status == 400
