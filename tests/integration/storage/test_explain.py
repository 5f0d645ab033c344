"""What `explain` says of a run: why each task does not run now, what that leads back to, and what it has waited for."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import RunNotFound, TaskNotFound
from engine.reasons import Reason
from engine.states import TaskState
from storage import explaining
from storage.explained import TaskExplanation
from tests.support.lab import FUNCTIONS, Lab, dag, fan
from tests.support.lab_pod import LabPod

NOWHERE = "01890000-0000-7000-8000-000000000001"


def describe(lab: Lab, pod: LabPod, **fields: Any) -> None:
    """The pod says of itself what real ones do."""
    said = {
        "host": "h", "version": "0", "state": "alive", "started_at_ms": 1, "ttl_ms": 10_000, "concurrency": 4, "queues": ["default"],
        "catalog": [{"name": name} for name in FUNCTIONS],
    }  # fmt: skip
    lab.client.set(lab.keys.pod(pod.name), json.dumps(said | fields), px=120_000)


def living(lab: Lab, name: str = "p1", **fields: Any) -> LabPod:
    pod = lab.pod(name, [entry["name"] for entry in fields.get("catalog", [])] or FUNCTIONS, fields.get("queues", ["default"]))
    describe(lab, pod, **fields)
    return pod


async def explained(lab: Lab, run_id: str, task_id: str) -> TaskExplanation:
    [task] = (await lab.store.explain_task(run_id, task_id)).tasks
    return task


def codes(task: TaskExplanation) -> list[str]:
    return [part.reason.value for part in task.intervals]


def assert_whole(task: TaskExplanation, created_at_ms: int) -> None:
    at: int | None = created_at_ms
    for part in task.intervals:
        assert part.from_ms == at
        at = part.to_ms


async def test_each_state_has_its_reason(lab: Lab) -> None:
    pod = living(lab)
    run_id = await lab.create(dag(done="", sleeps="", backs_off={"retry": {"max_attempts": 2}}, runs="", ready="", pending="sleeps runs"))
    claims = {claim.index: claim for claim in await pod.claim(4)}
    await pod.commit(
        pod.end(claims[0]),
        pod.end(claims[1], "sleep", "1", delay_ms=60_000),
        pod.end(claims[2], "retry", '{"type":"E"}', line="E: no", delay_ms=60_000),
    )
    with lab.unchanged():
        found = await lab.store.explain(run_id)
    assert found.next_start is None
    tasks = {task.id: task for task in found.tasks}
    assert {task.id: task.now.reason.value for task in found.tasks} == {
        "done": "ended", "sleeps": "sleeps_until", "backs_off": "retry_at", "runs": "running", "ready": "queued", "pending": "parents",
    }  # fmt: skip
    assert tasks["sleeps"].now.until_ms is not None
    assert tasks["sleeps"].now.until_ms > found.now_ms
    assert (tasks["backs_off"].now.attempt, tasks["backs_off"].now.text) == (1, "waits for its next attempt")
    assert (tasks["runs"].now.pod, tasks["runs"].now.attempt, tasks["runs"].now.text) == ("p1", 1, "attempt 1 runs on p1")
    assert (tasks["pending"].now.parents, tasks["pending"].now.open_parents) == (("sleeps", "runs"), 2)
    assert tasks["pending"].now.text == "waits for 2 tasks: sleeps, runs"
    assert [(link.id, link.reason) for link in tasks["pending"].chain] == [("sleeps", Reason.SLEEPS_UNTIL)]
    assert tasks["done"].now.text == "has ended: succeeded"
    for task in found.tasks:
        assert_whole(task, found.run.created_at_ms)
        assert (task.intervals[-1].to_ms is None) == (not task.state.terminal)


async def test_a_ready_task_that_no_living_pod_can_run_says_so(lab: Lab) -> None:
    run_id = await lab.create(dag(a={"task": "rare"}, b="a"))
    assert (await explained(lab, run_id, "a")).now.text == "no pod registers rare"
    living(lab)
    found = await explained(lab, run_id, "a")
    assert (found.now.reason, found.now.text, codes(found)) == (Reason.NO_CAPABLE_POD, "no pod registers rare", ["no_capable_pod"])
    child = await explained(lab, run_id, "b")
    assert [(link.id, link.text) for link in child.chain] == [("a", "no pod registers rare")]
    living(lab, "p2", catalog=[{"name": "rare"}])
    assert (await explained(lab, run_id, "a")).now.reason is Reason.QUEUED


async def test_a_ready_task_whose_pods_are_full_names_them(lab: Lab) -> None:
    pod = living(lab, concurrency=2)
    run_id = await lab.create(dag(a="", b="", c=""))
    await pod.claim(2)
    found = await explained(lab, run_id, "c")
    assert (found.now.reason, found.now.text) == (Reason.POD_CAPACITY, "all slots are taken: p1 2/2")
    assert [(load.pod_id, load.running, load.concurrency) for load in found.now.pods] == [("p1", 2, 2)]


async def test_notes_tell_what_a_task_in_the_queue_waited_for(lab: Lab) -> None:
    run_id = await lab.create(dag(a="", b="a"))
    created = (await lab.store.get_run(run_id)).created_at_ms
    while lab.now_ms() == created:
        pass
    await lab.partition.backlog.note_waits([("default/task_a", "no_capable_pod", created)], 3_600)
    pod = living(lab)
    await pod.succeed(await pod.claim_one())
    found = await explained(lab, run_id, "a")
    assert codes(found)[0] == "no_capable_pod"
    assert "queued" not in codes(found)
    assert found.summary.endswith("for a pod that registers task_a")
    assert "no_capable_pod" not in codes(await explained(lab, run_id, "b"))


async def test_an_outage_is_told_of_what_was_ready_in_it(lab: Lab) -> None:
    living(lab)
    run_id = await lab.create(dag(a="", b="a"))
    # As if all of this had happened ten seconds earlier.
    created = lab.now_ms() - 10_000
    lab.client.hset(lab.keys.run(run_id), "created", created)
    lab.client.rpush(lab.keys.waits("*"), f"storage {created + 1_000} {created + 2_000}")
    lab.client.rpush(lab.keys.waits("*"), f"of_a_newer_version {created + 4_000} {created + 5_000}")
    lab.client.pexpire(lab.keys.waits("*"), 60_000)
    waited = await explained(lab, run_id, "a")
    assert codes(waited)[-3:] == ["queued", "storage", "queued"]
    assert waited.waited_ms[Reason.STORAGE] == 1_000
    assert codes(await explained(lab, run_id, "b")) == ["parents"]


async def test_a_server_that_takes_no_claims_is_the_reason_while_pods_note_it(lab: Lab) -> None:
    living(lab)
    run_id = await lab.create(dag(a=""))
    await lab.partition.backlog.note_waits([("*", "refused", lab.now_ms())], 3_600)
    found = await explained(lab, run_id, "a")
    assert (found.now.reason, found.now.text) == (Reason.REFUSED, "Redis refuses claims: it is full")
    lab.client.lset(lab.keys.waits("*"), 0, f"refused {lab.now_ms() - 60_000} {lab.now_ms() - 30_000}")
    assert (await explained(lab, run_id, "a")).now.reason is Reason.QUEUED


async def test_a_run_of_many_events_is_explained_from_its_records(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = living(lab)
    run_id = await lab.create(dag(a={"retry": {"max_attempts": 3}}, b="a", c="b"))
    await pod.commit(pod.end(await pod.claim_one(), "retry", '{"type":"E"}', line="E: no", delay_ms=30))
    lab.bring_forward("retry")
    await pod.fire()
    await pod.succeed(await pod.claim_one())
    await pod.claim_one()
    from_events = await lab.store.explain(run_id)
    monkeypatch.setattr(explaining, "EVENTS", 0)
    from_records = await lab.store.explain(run_id)
    for old, new in zip(from_events.tasks, from_records.tasks, strict=True):
        assert old.intervals[:-1] == new.intervals[:-1]
        assert (old.now.reason, old.chain) == (new.now.reason, new.chain)


async def test_tasks_of_an_ended_run_ended_with_it(lab: Lab) -> None:
    pod = living(lab)
    run_id = await lab.create(dag(a="", b="", c="a"))
    await pod.claim(1)
    await lab.cancel(run_id)
    found = await lab.store.explain(run_id)
    assert {task.state for task in found.tasks} == {TaskState.CANCELLED}
    assert {task.now.reason for task in found.tasks} == {Reason.ENDED}
    for task in found.tasks:
        assert_whole(task, found.run.created_at_ms)
        assert not task.intervals or task.intervals[-1].to_ms == found.run.finished_at_ms
        assert not task.chain


async def test_pages_follow_the_definition(lab: Lab) -> None:
    run_id = await lab.create(dag(**dict.fromkeys([f"t{number}" for number in range(1_200)], "")))
    first = await lab.store.explain(run_id, count=700)
    rest = await lab.store.explain(run_id, start=first.next_start or 0, count=700)
    assert [task.id for task in [*first.tasks, *rest.tasks]] == [f"t{number}" for number in range(1_200)]
    assert rest.next_start is None
    assert (await lab.store.explain(run_id, start=5_000, count=10)).tasks == []


async def test_tasks_that_have_ended_can_be_left_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = living(lab)
    run_id = await lab.create(fan(30))
    await pod.succeed(await pod.claim_one())
    claims = await pod.claim(30)
    await pod.succeed(*(claim for claim in claims if claim.index not in {5, 6, 20}))
    monkeypatch.setattr(explaining, "SCANNED", 10)
    ids: list[str] = []
    start: int | None = 0
    while start is not None:
        page = await lab.store.explain(run_id, start=start, count=2, unended=True)
        assert len(page.tasks) <= 2
        ids += [task.id for task in page.tasks]
        start = page.next_start
    assert ids == ["m4", "m5", "m19", "last"]
    last = (await explained(lab, run_id, "last")).now
    assert (last.parents, last.open_parents) == (("m4", "m5", "m19"), 3)
    await lab.cancel(run_id)
    assert (await lab.store.explain(run_id, unended=True)).tasks == []


async def test_a_page_costs_the_same_however_large_the_run(lab: Lab) -> None:
    """A chain of 3,000 and one of 30,000: the same calls, and the same number of records."""
    sent: list[int] = []
    for length in (3_000, 30_000):
        run_id = await lab.create(dag(**{f"t{number}": f"t{number - 1}" if number else "" for number in range(length)}))
        living(lab)
        await lab.store.explain(run_id, start=length - 50, count=50)
        before = lab.client.info("stats")["total_commands_processed"]
        page = await lab.store.explain(run_id, start=length - 50, count=50)
        sent.append(lab.client.info("stats")["total_commands_processed"] - before)
        assert [(task.chain_length, task.chain[-1].id) for task in page.tasks] == [(length - 50 + place, "t0") for place in range(50)]
    assert sent[1] <= sent[0] + 60
    assert sent[1] < 200


async def test_what_is_not_there_is_not_explained(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    with pytest.raises(RunNotFound):
        await lab.store.explain(NOWHERE)
    with pytest.raises(TaskNotFound):
        await lab.store.explain_task(run_id, "b")
