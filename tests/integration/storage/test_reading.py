"""Reading a run: its tasks in the definition's order, its attempts, its events, from one moment."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import zlib

import pytest

from engine.errors import RunNotFound, StorageCorrupt, TaskNotFound
from engine.states import RunState, TaskState
from storage.store import Store
from tests.support.lab import Lab, dag

NOWHERE = "01890000-0000-7000-8000-000000000001"


async def test_tasks_come_in_pages_in_the_order_of_the_definition(lab: Lab) -> None:
    names = [f"t{number}" for number in range(2_300)]
    run_id = await lab.create(dag(**dict.fromkeys(names, "")))
    pages = [await lab.store.get_tasks(run_id, start=start, count=1_000) for start in (0, 1_000, 2_000)]
    assert [len(page) for page in pages] == [1_000, 1_000, 300]
    assert [task.id for page in pages for task in page] == names
    whole = await lab.store.get_tasks(run_id, start=0, count=10_000)
    assert whole == [task for page in pages for task in page]
    assert [task.state for task in whole[249:251]] == [TaskState.READY, TaskState.PENDING]
    assert await lab.store.get_tasks(run_id, start=2_300, count=10) == []
    assert [task.id for task in await lab.store.get_tasks(run_id, start=1_299, count=2)] == ["t1299", "t1300"]


async def test_a_run_and_its_tasks_agree(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(
        {
            **dag(a={"allow_failure": True}, b="", c="", d="", e="b", f="a", g="e"),
            "name": "n",
            "labels": {"team": "x"},
            "priority": 3,
            "on_failure": "stop",
        }
    )
    claims = {claim.index: claim for claim in await pod.claim(3)}
    await pod.commit(
        pod.end(claims[0], "failed", '{"type":"E"}'),
        pod.end(claims[1], payload='{"x":1}'),
        pod.end(claims[2], "sleep", "1", delay_ms=60_000),
    )
    await pod.claim(1)
    run, tasks = await lab.store.get_run_and_tasks(run_id, start=0, count=10)
    assert run == await lab.store.get_run(run_id)
    assert (run.name, run.labels, run.priority, run.on_failure, run.total) == ("n", {"team": "x"}, 3, "stop", 7)
    states = [task.state for task in tasks]
    assert [state.value for state in states] == ["failed", "succeeded", "waiting", "running", "ready", "skipped", "pending"]
    assert run.counts == {state: states.count(state) for state in TaskState}
    assert run.created_at_ms <= (run.started_at_ms or 0) <= lab.now_ms()
    failed, succeeded, sleeping, running, ready, skipped, pending = tasks
    assert (failed.error, succeeded.result) == ({"type": "E"}, {"x": 1})
    assert (sleeping.reason, (sleeping.retry_at_ms or 0) - (sleeping.started_at_ms or 0) >= 60_000) == ("sleeps", True)
    assert (running.pod, running.attempts, (running.fencing_token or 0) // 1000 >= run.created_at_ms) == ("p1", 1, True)
    assert (ready.pod, ready.started_at_ms, ready.attempts, ready.fencing_token) == (None, None, 0, None)
    assert (skipped.reason, skipped.depends_on) == ("a did not succeed", ("a",))
    assert (pending.reason, pending.ready_at_ms) == (None, None)
    assert await lab.store.get_task(run_id, "e") == ready


async def test_attempts_that_did_not_end_their_task_are_kept_in_order(lab: Lab) -> None:
    judge, dead = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(a="", b=""))
    claims = {claim.index: claim for claim in await dead.claim()}
    assert await lab.store.get_attempts(run_id, "a") == []
    await dead.commit(dead.end(claims[0], "retry", '{"type":"E"}', delay_ms=0))
    await dead.fire()
    await dead.claim_one()
    lab.bury(dead)
    await judge.reap()
    await judge.succeed(*await judge.claim())
    first, second = await lab.store.get_attempts(run_id, "a")
    assert (first.attempt, first.ended_as, first.pod, first.error) == (1, "failed", "p2", {"type": "E"})
    assert (second.attempt, second.ended_as, second.pod, second.error) == (2, "lost", "p2", None)
    assert (first.started_at_ms or 0) <= first.ended_at_ms <= (second.started_at_ms or 0) <= second.ended_at_ms
    assert (await lab.store.get_task(run_id, "a")).attempts == 3


async def test_a_task_that_never_started_has_no_attempts(lab: Lab) -> None:
    run_id = await lab.create(dag(a="", b="a"))
    assert await lab.store.get_attempts(run_id, "b") == []


async def test_events_are_numbered_densely_from_one_over_pages(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="a", c="b"))
    for outcome in ("succeeded", "failed"):
        await pod.commit(pod.end(await pod.claim_one(), outcome, '{"type":"E"}', line="E: what  it says"))
    await pod.pass_everything_on()
    whole = await lab.store.get_events(run_id, after=0, limit=100)
    assert [event.seq for event in whole] == list(range(1, 10))
    assert [(event.type, event.task_id, event.attempt, event.pod) for event in whole] == [
        ("run_created", None, None, None),
        ("task_ready", "a", None, None),
        ("task_started", "a", 1, "p1"),
        ("task_succeeded", "a", 1, "p1"),
        ("task_ready", "b", None, None),
        ("task_started", "b", 1, "p1"),
        ("task_failed", "b", 1, "p1"),
        ("task_skipped", "c", None, None),
        ("run_failed", None, None, None),
    ]
    pages = [event for after in range(0, 12, 3) for event in await lab.store.get_events(run_id, after=after, limit=3)]
    assert pages == whole
    assert await lab.store.get_events(run_id, after=len(whole), limit=3) == []
    assert [event.detail for event in whole if event.type == "task_failed"] == ["E: what  it says"]
    assert [event.detail for event in whole if event.type == "run_failed"] == ["1 task(s) failed"]


@pytest.mark.parametrize("run_id", [NOWHERE, "nonsense", "", "🐟", NOWHERE.upper() + "\ud800"])
async def test_what_does_not_exist_is_not_found(lab: Lab, run_id: str) -> None:
    with pytest.raises(RunNotFound):
        await lab.store.get_run(run_id)
    with pytest.raises(RunNotFound):
        await lab.store.get_graph(run_id)
    with pytest.raises(RunNotFound):
        await lab.store.get_tasks(run_id, start=0, count=1)
    with pytest.raises(RunNotFound):
        await lab.store.get_events(run_id, after=0, limit=1)


async def test_a_task_that_a_run_does_not_have_is_not_found(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    with pytest.raises(TaskNotFound):
        await lab.store.get_task(run_id, "b")
    with pytest.raises(TaskNotFound):
        await lab.store.get_attempts(run_id, "b")


async def test_a_run_whose_hash_is_gone_while_its_graph_is_known_is_not_found(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    lab.client.delete(lab.keys.run(run_id))
    with pytest.raises(RunNotFound):
        await lab.store.get_tasks(run_id, start=0, count=1)
    lab.client.delete(*lab.client.keys(lab.key("run:*")))


async def test_a_record_that_makes_no_sense_is_said_to_be_corrupt(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    lab.client.hset(lab.keys.tasks(run_id), "0", "what is this")
    with pytest.raises(StorageCorrupt, match="what is this"):
        await lab.store.get_task(run_id, "a")
    lab.client.hset(lab.keys.tasks(run_id), "0", "ready 0 0 0 0 - - - -")


async def test_a_key_of_another_type_is_said_to_be_corrupt(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    lab.client.delete(lab.keys.run(run_id))
    lab.client.set(lab.keys.run(run_id), "text")
    with pytest.raises(StorageCorrupt, match="WRONGTYPE"):
        await lab.store.get_run(run_id)
    lab.client.delete(*lab.client.keys(lab.key("run:*")))


async def test_another_pod_compiles_a_run_once_and_large_ones_beside_the_loop(lab: Lab) -> None:
    small, large = await lab.create(dag(a="")), await lab.create(dag(**{f"t{number}": "" for number in range(4_000)}))
    other = await Store.open(lab.url, namespace=lab.keys.namespace)
    for run_id, total in ((small, 1), (large, 4_000)):
        graph = await other.get_graph(run_id)
        assert len(graph.graph.tasks) == total
        assert await other.get_graph(run_id) is graph
    twin = await lab.create(dag(a=""))
    assert await other.get_graph(twin) is await other.get_graph(small)
    assert await other.partitions[0].load_graphs([small, NOWHERE]) == {small: await other.get_graph(small)}
    await other.close()


async def test_a_definition_of_a_newer_version_holds_up_no_other_run(lab: Lab) -> None:
    good, strange = await lab.create(dag(a="")), await lab.create(dag(a="", b=""))
    newer = zlib.compress(b'{"tasks": {"a": {"task": "echo"}}, "of_a_newer_version": 1}')
    lab.client.execute_command("LSET", lab.keys.graph(strange), 0, newer)
    other = await Store.open(lab.url, namespace=lab.keys.namespace)
    assert (await other.partitions[0].load_graphs([good, strange], strict=False)).keys() == {good}
    with pytest.raises(StorageCorrupt, match=strange):
        await other.get_graph(strange)
    await other.close()


async def test_the_state_of_a_run_is_told_to_its_creator(lab: Lab) -> None:
    created = await lab.post(dag(a=""))
    assert (created.state, created.existing) == (RunState.RUNNING, False)
    assert created.durability in {"memory", "aof-unknown", "snapshot"}
