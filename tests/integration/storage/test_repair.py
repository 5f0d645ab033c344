"""repair: what the graph decides is decided as the record says, where no call will do it any more, and only there."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import pytest

from tests.support.damage import auditor_of
from tests.support.expected import added
from tests.support.lab import Lab, dag, fan
from tests.support.lab_pod import LabPod


async def events(lab: Lab, run_id: str) -> int:
    return len(lab.events(run_id))


async def repair(lab: Lab, run_id: str, *decisions: str, **how: Any) -> tuple[str, list[str], bool]:
    with lab.moment():
        repaired = await lab.partition.repair(run_id, decisions, **how)
    return repaired.word, repaired.what, repaired.cascades


async def orphaned(lab: Lab, pod: LabPod, outcome: str = "succeeded", **tasks: Any) -> str:
    """a → b, c (and more), of which only b was told of a's end: the slice with the others is lost."""
    run_id = await lab.create(dag(a="", b="a", c="a", **tasks))
    await pod.commit(pod.end(await pod.claim_one(), outcome, budget=1))
    assert lab.client.zrem(lab.key("timers"), f"edges {run_id} 0 1") == 1
    return run_id


async def test_a_task_whose_predecessors_have_all_succeeded_becomes_ready(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await orphaned(lab, pod)
    lab.client.hset(lab.key(f"run:{run_id}:edges"), "2", "1")
    before = lab.raw()
    assert await repair(lab, run_id, "ready 2 - 0 default/task_a") == ("OK", ["2 predecessors"], False)
    assert lab.changes(before) == {
        "run:R1": {"ready": "1 → 2"},
        "run:R1:tasks": {"2": "+ready 0 0 0 t - - - -"},
        "run:R1:edges": {"2": "-1"},
        "run:R1:events": {"6": "+t repaired 2 - - predecessors", "7": "+t ready 2 - -"},
        "lane:default/task_a": {"R1 2 -": "+0 t"},
    } | added({"counters": {"limbo_repairs": "1"}})
    with lab.unchanged():
        assert await repair(lab, run_id, "ready 2 - 0 default/task_a") == ("OK", [], False)
        assert await repair(lab, run_id, "skipped 2 0 upstream 0") == ("OK", [], False)


async def test_a_task_of_which_a_predecessor_has_failed_is_skipped_and_so_is_what_follows(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await orphaned(lab, pod, "failed", d="c", e={"depends_on": ["c", "b"]})
    await pod.pass_everything_on()
    before = lab.raw()
    assert await repair(lab, run_id, "skipped 2 0 upstream 0", recount="0 0 0 0 1 2 1") == ("OK", ["2 predecessors"], True)
    assert lab.changes(before) == {
        "run:R1": {"skipped": "2 → 3"},
        "run:R1:tasks": {"2": "+skipped 0 0 0 - - t - - upstream 0"},
        "run:R1:events": {"7": "+t repaired 2 - - predecessors", "8": "+t skipped 2 - -"},
    } | added({"timers": {"edges R1 2 0": "t"}, "counters": {"limbo_repairs": "1"}})
    await pod.pass_everything_on()
    assert lab.states(run_id) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped", "e": "skipped"}
    assert lab.run_field(run_id, "state") == "failed"


async def test_a_run_whose_last_tasks_are_skipped_by_a_repair_ends(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await orphaned(lab, pod, "failed")
    await pod.pass_everything_on()
    ended: list[tuple[str, str]] = []
    lab.partition.on_run_ended = lambda run_id, state: ended.append((run_id, state))
    assert await repair(lab, run_id, "skipped 2 0 upstream 0") == ("OK", ["2 predecessors"], True)
    assert ended == [(run_id, "failed")]
    assert lab.run_field(run_id, "state") == "failed"


async def test_an_edge_count_that_was_lost_is_written_again(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"priority": 1}, b="", x="a b"))
    await pod.succeed(await pod.claim_one())
    lab.client.delete(lab.key(f"run:{run_id}:edges"))
    before = lab.raw()
    how = {"events": await events(lab, run_id)}
    assert await repair(lab, run_id, "edges 2 1", **how) == ("OK", ["2 edges"], False)
    assert lab.changes(before) == {"run:R1:events": {"6": "+t repaired 2 - - edges"}} | added(
        {"run:R1:edges": {"2": "1"}, "counters": {"limbo_repairs": "1"}}
    )
    with lab.unchanged():
        assert await repair(lab, run_id, "edges 2 1", **how) == ("MOVED", [], False)
        assert await repair(lab, run_id, "edges 2 1", events=await events(lab, run_id)) == ("OK", [], False)
    await pod.succeed(await pod.claim_one())
    assert lab.states(run_id)["x"] == "ready"


async def test_a_task_that_is_skipped_while_predecessors_run_hears_of_their_ends(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"priority": 1}, b="", x="a b"))
    await pod.fail(await pod.claim_one())
    lab.client.hdel(lab.keys.tasks(run_id), "2")
    lab.client.delete(lab.key(f"run:{run_id}:edges"), lab.key("timers"))
    lab.client.hset(lab.keys.run(run_id), "skipped", 0)
    assert (await repair(lab, run_id, "skipped 2 131073 upstream 0", events=await events(lab, run_id)))[0] == "OK"
    assert lab.shown()["run:R1:edges"] == {"2": "131073"}
    await pod.succeed(await pod.claim_one())
    await pod.pass_everything_on()
    assert lab.states(run_id) == {"a": "failed", "b": "succeeded", "x": "skipped"}
    assert "run:R1:edges" not in lab.shown()
    assert lab.run_field(run_id, "state") == "failed"


async def test_counts_become_those_of_the_recount_and_an_ended_run_ends(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    lab.client.hset(lab.keys.run(run_id), "succeeded", -1)
    await pod.succeed(*await pod.claim())
    assert lab.run_field(run_id, "state") == "running"
    before = lab.raw()
    assert await repair(lab, run_id, recount="0 0 0 2 0 0 0", events=await events(lab, run_id)) == ("OK", ["counts"], False)
    changed = lab.changes(before)
    assert changed["run:R1"] == {
        "succeeded": "1 → 2", "state": "running → succeeded", "finished": "+t", "reason": "+", "(until)": "+t+3600000",
    }  # fmt: skip
    assert changed["run:R1:events"] == {
        "8": "+t run_repaired counts", "9": "+t run_succeeded", "(until)": "+t+3600000",
    }  # fmt: skip
    assert (changed["audits"], changed["counters"]) == ({"R1": "-t"}, {"limbo_repairs": "+1"})
    with lab.unchanged():
        assert (await repair(lab, run_id, recount="0 0 0 2 0 0 0"))[0] == "TERMINAL"


async def test_a_recount_that_agrees_changes_nothing_and_a_run_that_had_not_ended_for_all_that_ends(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a"))
    with lab.unchanged():
        assert await repair(lab, run_id, recount="1 0 0 0 0 0 0") == ("OK", [], False)
    lab.client.hset(lab.keys.run(run_id), "total", 3)
    for _ in range(2):
        await pod.succeed(await pod.claim_one())
    lab.client.hset(lab.keys.run(run_id), "total", 2)
    assert await repair(lab, run_id, recount="0 0 0 2 0 0 0") == ("OK", ["end"], False)
    assert lab.run_field(run_id, "state") == "succeeded"


async def test_nothing_is_repaired_while_slices_of_the_run_are_to_be_passed_on(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a", c="a"))
    await pod.commit(pod.end(await pod.claim_one(), budget=1))
    with lab.unchanged():
        assert await repair(lab, run_id, "ready 2 - 0 default/task_a") == ("BUSY", [], False)
    other = await lab.create(dag(a="", b="a"))
    with lab.unchanged():
        assert await repair(lab, other, recount="1 0 0 0 0 0 0") == ("OK", [], False)
        assert await repair(lab, other, dead_end="no") == ("OK", [], False)
    await pod.pass_everything_on()
    with lab.unchanged():
        assert await repair(lab, run_id, "ready 2 - 0 default/task_a") == ("OK", [], False)


async def test_nothing_is_repaired_while_more_timers_are_due_than_a_call_looks_at(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await orphaned(lab, pod)
    lab.client.zadd(lab.key("timers"), {f"retry x {number} - 0 q/f": 1 for number in range(1_000)})
    with lab.unchanged():
        assert await repair(lab, run_id, "ready 2 - 0 default/task_a") == ("BUSY", [], False)
    lab.client.delete(lab.key("timers"))


async def test_a_slice_that_a_clock_left_in_the_far_future_is_due_now(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a", c="a"))
    await pod.commit(pod.end(await pod.claim_one(), budget=1))
    lab.client.zadd(lab.key("timers"), {f"edges {run_id} 0 1": lab.now_ms() + 3_600_000})
    assert [words async for words in lab.partition.slices(run_id)] == ["0 1"]
    before = lab.raw()
    assert await repair(lab, run_id, "slice 0 1", "slice 0 7") == ("OK", ["slice 0 1"], False)
    changed = lab.changes(before)
    assert changed["run:R1:events"] == {"6": "+t run_repaired slice 0 1"}
    assert lab.shown()["timers"] == {"edges R1 0 1": "t"}
    assert await pod.fire() == [(run_id, "0", 1)]


async def test_a_run_in_which_nothing_can_move_any_more_fails_and_says_why(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="b"))
    await pod.succeed(await pod.claim_one())
    lab.client.hset(lab.keys.tasks(run_id), "1", "broken")
    with lab.unchanged():
        assert await repair(lab, run_id, dead_end="no task can move any more: b, c") == ("OK", [], False)
    assert await auditor_of(lab, pod).look(run_id) == ["counts", "dead end"]
    assert lab.run_field(run_id, "state") == "failed"
    assert lab.run_field(run_id, "reason") == "no task can move any more: b, c"
    assert lab.events(run_id)[-2:] == ["run_repaired dead end", "run_failed no task can move any more: b, c"]
    assert lab.take_inbox(pod) == [f"stop {lab.narrator.named(run_id)}"]
    lab.client.delete(lab.key("lanes"), lab.key("lane:default/task_a"))


async def test_a_repair_wakes_an_idle_pod(lab: Lab) -> None:
    pod, free = lab.pod("p1"), lab.pod("p2")
    run_id = await orphaned(lab, pod)
    lab.stand_idle(free)
    await repair(lab, run_id, "ready 2 - 0 default/task_a")
    assert lab.take_inbox(free) == ["ready"]


async def test_a_run_that_is_over_or_unknown_is_left_alone(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    await lab.cancel(run_id)
    with lab.unchanged():
        assert await repair(lab, run_id, "ready 0 - 0 default/task_a") == ("TERMINAL", [], False)
        assert await repair(lab, "01890000-0000-7000-8000-000000000001") == ("TERMINAL", [], False)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_a_wide_fan_out_of_which_every_slice_was_lost_is_decided_in_a_few_looks(
    lab: Lab, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.auditor.BUSY_SECONDS", 0)
    pod = lab.pod("p1")
    run_id = await lab.create(fan(700))
    await pod.commit(pod.end(await pod.claim_one(), outcome, budget=0))
    assert lab.client.zrem(lab.key("timers"), f"edges {run_id} 0 0") == 1
    auditor = auditor_of(lab, pod)
    if outcome == "succeeded":
        assert len(await auditor.look(run_id)) == 700
        assert lab.run_field(run_id, "ready") == "700"
        return
    # Each skipped task has news for the last one: those go first, and the rest is decided after them.
    looks = 0
    while lab.run_field(run_id, "state") == "running":
        assert await auditor.look(run_id)
        await pod.pass_everything_on()
        looks += 1
    assert looks <= 5
    assert set(lab.states(run_id).values()) == {"failed", "skipped"}
