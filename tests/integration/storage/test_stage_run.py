"""stage_run: one part of a large definition waits, unseen, for create_run; it goes away by itself if that never comes."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.errors import RunNotFound, StorageUnavailable
from storage.graphs import PART_BYTES
from storage.scripts import Argument
from storage.store import ORPHAN_MS
from tests.support.expected import added, run_row
from tests.support.faulty_client import Fault, answered, between, not_sent, reply_lost
from tests.support.lab import Lab

RUN = "01890000-0000-7000-8000-000000000001"


def creation(parts: int) -> list[Argument]:
    return [RUN, "body", "", 1, 3_600_000, "continue", 0, "", "", "", "0 1 - 0 default/task_a", "", parts, "", "", "", 100]


def large() -> dict[str, Any]:
    """A definition whose packed form takes several parts: hexadecimal noise, which packing only halves."""
    noise = random.Random(1)
    return {"tasks": {f"t{number}": {"task": "task_a", "args": {"noise": noise.randbytes(100_000).hex()}} for number in range(12)}}


async def test_parts_are_kept_in_order_and_only_for_a_while(lab: Lab) -> None:
    lab.narrator.names[RUN] = "R1"
    assert lab.shown() == {}
    assert lab.call("stage_run", RUN, 0, b"first", 60_000) == [b"OK", 1]
    assert lab.shown() == {"run:R1:graph": {"1": "a part of the definition", "(until)": "t+60000"}}
    before = lab.raw()
    assert lab.call("stage_run", RUN, 1, b"second", 60_000) == [b"OK", 2]
    assert lab.changes(before) == {"run:R1:graph": {"2": "+a part of the definition"}}
    assert lab.client.lrange(lab.keys.graph(RUN), 0, -1) == [b"first", b"second"]


async def test_a_part_that_is_there_already_is_not_added_again(lab: Lab) -> None:
    lab.call("stage_run", RUN, 0, b"first", 60_000)
    with lab.unchanged():
        assert lab.call("stage_run", RUN, 0, b"first", 60_000) == [b"OK", 1]


async def test_a_part_whose_predecessor_is_missing_is_refused(lab: Lab) -> None:
    assert lab.call("stage_run", RUN, 1, b"second", 60_000) == [b"GAP", 0]
    assert lab.raw() == {}


async def test_a_late_part_of_a_run_that_exists_is_ignored(lab: Lab) -> None:
    lab.call("stage_run", RUN, 0, b"first", 60_000)
    lab.call("create_run", *creation(1))
    with lab.unchanged():
        assert lab.call("stage_run", RUN, 1, b"second", 60_000) == [b"OK", 1]


async def test_creation_makes_the_parts_stay(lab: Lab) -> None:
    lab.narrator.names[RUN] = "R1"
    lab.call("stage_run", RUN, 0, b"first", 60_000)
    before = lab.raw()
    assert lab.call("create_run", *creation(1))[0] == b"OK"
    assert lab.changes(before) == {"run:R1:graph": {"(until)": "-t+60000"}} | added(
        {
            "run:R1": run_row(1, ready=1),
            "run:R1:events": {"1": "t run_created", "2": "t ready 0 - -"},
            "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
            "runs": {"R1": "t"},
            "audits": {"R1": "t"},
            "lanes": {"default/task_a": "0 t"},
            "lane:default/task_a": {"R1 0 -": "0 t"},
        }
    )


async def test_a_run_is_not_created_from_fewer_parts_than_were_sent(lab: Lab) -> None:
    lab.call("stage_run", RUN, 0, b"first", 60_000)
    with lab.unchanged():
        assert lab.call("create_run", *creation(2)) == [b"UNSTAGED"]


async def test_a_large_definition_is_staged_and_read_back_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = between(monkeypatch, lab.store)
    run_id = await lab.create(large())
    assert client.calls == ["stage_run", "stage_run", "stage_run", "create_run"]
    parts: Any = lab.client.lrange(lab.keys.graph(run_id), 0, -1)
    assert [len(part) for part in parts[:-1]] == [PART_BYTES, PART_BYTES]
    stranger = await Lab.open(lab.url, lab.keys.namespace)
    assert (await stranger.store.get_graph(run_id)).definition == lab.graphs[run_id].definition
    await stranger.close()


async def test_a_staged_definition_is_not_seen_before_it_is_complete(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = between(monkeypatch, lab.store)
    client.plan["create_run"] = [not_sent] * 100
    monkeypatch.setattr("storage.store.ANSWER_SECONDS", 0.1)
    with pytest.raises(StorageUnavailable):
        await lab.create(large())
    [(key, (_, until))] = lab.raw().items()
    assert key.endswith(":graph")
    assert lab.now_ms() < until <= lab.now_ms() + ORPHAN_MS
    run_id = key.split(":")[1]
    assert (await lab.store.list_runs()).runs == []
    with pytest.raises(RunNotFound):
        await lab.store.get_run(run_id)


@pytest.mark.parametrize("after", [1, 2, 3], ids=["after the first part", "after the second part", "after the last part"])
@pytest.mark.parametrize("forgotten", ["all parts", "the last part"])
async def test_parts_that_the_server_forgot_on_the_way_are_sent_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, after: int, forgotten: str
) -> None:
    async def forget(call: Callable[[], Awaitable[Any]]) -> Any:
        answer = await call()
        for key in lab.client.keys(lab.key("run:*:graph")):
            if forgotten == "all parts":
                lab.client.delete(key)
            else:
                lab.client.rpop(key)
        return answer

    client = between(monkeypatch, lab.store)
    client.plan["stage_run"] = [*[answered] * (after - 1), forget]
    run_id = await lab.create(large())
    assert lab.client.llen(lab.keys.graph(run_id)) == 3
    lab.store.partitions[0].graphs.__init__()
    assert (await lab.store.get_graph(run_id)).definition == lab.graphs[run_id].definition


@pytest.mark.parametrize("script", ["stage_run", "create_run"])
@pytest.mark.parametrize("fault", [not_sent, reply_lost])
async def test_a_creation_that_is_cut_anywhere_is_completed_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, script: str, fault: Fault
) -> None:
    client = between(monkeypatch, lab.store)
    client.plan[script] = [fault, answered, fault]
    run_id = await lab.create(large())
    assert [run.run_id for run in (await lab.store.list_runs()).runs] == [run_id]
    assert lab.client.llen(lab.keys.graph(run_id)) == 3
    assert lab.run_field(run_id, "ready") == "12"
