"""create_run: a run exists from this call on, with its first tasks ready."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from storage.partition import EDGES_PER_CALL
from storage.scripts import Argument
from tests.support.expected import added, idle, numbered, pods, removed, run_row
from tests.support.lab import Lab, dag

RUN = "01890000-0000-7000-8000-000000000001"
OTHER = "01890000-0000-7000-8000-000000000002"


def arguments(run_id: str = RUN, body: str = "body", key: str = "", packed: str = "definition") -> list[Argument]:
    """One task without predecessors."""
    return [
        run_id, body, key, 1, 3_600_000, "continue", 0, "", "", packed, "0 1 - 0 default/task_a", "", 0 if packed else 1, "", "", "", 100,
    ]  # fmt: skip


async def test_a_run_appears_whole_in_an_empty_store(lab: Lab) -> None:
    assert lab.shown() == {}
    document: dict[str, JsonValue] = {
        **dag(a="", b={"depends_on": ["a"], "priority": 5}, c="a b"),
        "name": "nightly",
        "labels": {"team": "x"},
        "priority": 7,
    }
    await lab.create(document, key="k")
    assert lab.shown() == {
        "run:R1": run_row(3, ready=1, name="nightly", labels='{"team": "x"}', priority=7, idempotency="digest of k"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -"),
        "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "idempotency:digest of k": {"value": "R1 body"},
        "lanes": {"default/task_a": "7 t"},
        "lane:default/task_a": {"R1 0 -": "7 t"},
    }


async def test_a_traced_run_keeps_its_trace_context_and_nothing_else_is_added(lab: Lab) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1"
    await lab.create(dag(a=""), trace=trace)
    assert lab.shown() == {
        "run:R1": run_row(1, ready=1, trace=trace),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -"),
        "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "lanes": {"default/task_a": "0 t"},
        "lane:default/task_a": {"R1 0 -": "0 t"},
    }


async def test_all_roots_become_ready_in_their_lanes(lab: Lab) -> None:
    await lab.create(
        dag(
            a={"queue": "big", "priority": -100},
            b={"task": "task_b", "priority": 100, "allow_failure": True},
            c={"task": "task_b", "priority": 99},
            d="a b c",
        )
    )
    shown = lab.shown()
    assert {key: shown[key] for key in shown if key.startswith("lane")} == {
        "lanes": {"big/task_a": "-100 t", "default/task_b": "100 t"},
        "lane:big/task_a": {"R1 0 -": "-100 t"},
        "lane:default/task_b": {"R1 1 a": "100 t", "R1 2 -": "99 t"},
    }
    assert shown["run:R1"] == run_row(4, ready=3)


async def test_idle_pods_are_woken_by_a_new_run(lab: Lab) -> None:
    pod = lab.pod("p1")
    assert await pod.claim() == []
    before = lab.raw()
    assert lab.shown(before) == pods("p1") | idle("p1")
    await lab.create(dag(a=""))
    assert lab.changes(before) == removed(idle("p1")) | added(
        {
            "inbox:p1": numbered("ready") | {"(until)": "t+60000"},
            "run:R1": run_row(1, ready=1),
            "run:R1:graph": numbered("a part of the definition"),
            "run:R1:events": numbered("t run_created", "t ready 0 - -"),
            "run:R1:tasks": {"0": "ready 0 0 0 t - - - -"},
            "runs": {"R1": "t"},
            "audits": {"R1": "t"},
            "lanes": {"default/task_a": "0 t"},
            "lane:default/task_a": {"R1 0 -": "0 t"},
        }
    )


async def test_roots_beyond_one_call_are_a_slice_that_is_due_at_once_and_that_every_pod_hears_of(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**dict.fromkeys((f"m{number}" for number in range(EDGES_PER_CALL + 3)), "")))
    assert lab.run_field(run_id, "ready") == str(EDGES_PER_CALL)
    assert lab.shown()["timers"] == {f"edges R1 root {EDGES_PER_CALL}": "t"}
    assert lab.take_inbox(pod) == ["due"]
    assert await pod.fire() == [(run_id, "root", EDGES_PER_CALL)]
    assert await pod.pass_on(run_id, "root", EDGES_PER_CALL) == ("OK", False)
    assert lab.run_field(run_id, "ready") == str(EDGES_PER_CALL + 3)
    assert "timers" not in lab.shown()


async def test_the_same_run_id_again_answers_the_same_and_changes_nothing(lab: Lab) -> None:
    first = lab.call("create_run", *arguments())
    with lab.unchanged():
        again = lab.call("create_run", *arguments())
    assert again == first
    assert again[0] == b"OK"


async def test_a_repeated_creation_after_the_run_has_moved_on_answers_its_state_and_changes_nothing(lab: Lab) -> None:
    first = lab.call("create_run", *arguments())
    lab.call("cancel", RUN, "enough", "", 100)
    with lab.unchanged():
        assert lab.call("create_run", *arguments()) == [b"OK", first[1], b"cancelled"]


@pytest.mark.parametrize(("body", "word"), [("body", b"EXISTS"), ("other body", b"CONFLICT")])
async def test_an_idempotency_key_that_has_a_run_creates_no_second_one(lab: Lab, body: str, word: bytes) -> None:
    lab.call("create_run", *arguments(key="digest"))
    with lab.unchanged():
        assert lab.call("create_run", *arguments(OTHER, body=body, key="digest")) == [word, RUN.encode()]


async def test_a_refused_creation_takes_its_staged_definition_with_it(lab: Lab) -> None:
    lab.call("create_run", *arguments(key="digest"))
    with lab.unchanged():
        lab.call("stage_run", OTHER, 0, b"part", 60_000)
        assert lab.call("create_run", *arguments(OTHER, key="digest", packed="")) == [b"EXISTS", RUN.encode()]


async def test_a_creation_whose_staged_definition_is_gone_is_refused_without_a_trace(lab: Lab) -> None:
    assert lab.call("create_run", *arguments(key="digest", packed="")) == [b"UNSTAGED"]
    assert lab.raw() == {}
