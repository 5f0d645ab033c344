"""cancel: running -> cancelled for a whole run. Nothing of it starts from now on, and no commit is accepted."""

from __future__ import annotations

import pytest

from engine.errors import RunAlreadyFinished, RunNotFound
from engine.states import RunState
from tests.support.expected import numbered, pods, run_row
from tests.support.lab import Lab, dag


async def test_a_run_is_cancelled_with_everything_that_had_not_ended(lab: Lab) -> None:
    pod, other = lab.pod("p1"), lab.pod("p2")
    run_id = await lab.create(dag(a="", b="", c="a", d="c"), key="k")
    await pod.claim_one()
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p1")
    assert shown == pods("p1", "p2") | {
        "run:R1": run_row(4, ready=1, running=1, started="t", idempotency="digest of k"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t ready 1 - -", "t started 0 1 p1"),
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0", "1": "ready 0 0 0 t - - - -"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "idempotency:digest of k": {"value": "R1 body"},
        "lanes": {"default/task_a": "0 t"},
        "lane:default/task_a": {"R1 1 -": "0 t"},
        "lease:op1.0": {"value": "p1", "(until)": "t+10000"},
        "claims:p1": {"op1.0 R1 0 - 0 default/task_a": "t"},
    }
    with lab.moment():
        assert (await lab.store.cancel(run_id, "enough of it")).state is RunState.CANCELLED
    until = {"(until)": "+t+3600000"}
    assert lab.changes(before) == {
        "run:R1": {"state": "running → cancelled", "finished": "+t", "reason": "+enough of it"} | until,
        "run:R1:events": {"5": "+t run_cancelled enough of it"} | until,
        "run:R1:tasks": until,
        "run:R1:graph": until,
        "idempotency:digest of k": until,
        "timers": {"forget R1": "+t+3600000", "sweep R1 0": "+t"},
        "audits": {"R1": "-t"},
        "inbox:p1": {"1": "+stop R1", "(until)": "+t+60000"},
        "inbox:p2": {"1": "+stop R1", "(until)": "+t+60000"},
    }
    assert other.name == "p2"


async def test_cancelling_twice_answers_the_same_and_changes_nothing(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    first = await lab.store.cancel(run_id, "enough")
    with lab.unchanged():
        assert await lab.store.cancel(run_id, "again") == first
    assert (await lab.store.get_run(run_id)).reason == "enough"


@pytest.mark.parametrize(("outcome", "state"), [("succeeded", "succeeded"), ("failed", "failed")])
async def test_a_run_that_ended_first_says_how_and_does_not_change(lab: Lab, outcome: str, state: str) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.commit(pod.end(await pod.claim_one(), outcome))
    with lab.unchanged(), pytest.raises(RunAlreadyFinished) as refused:
        await lab.store.cancel(run_id)
    assert refused.value.state == state


@pytest.mark.parametrize("run_id", ["01890000-0000-7000-8000-000000000001", "no run id", ""])
async def test_a_run_that_does_not_exist_is_not_found(lab: Lab, run_id: str) -> None:
    with lab.unchanged(), pytest.raises(RunNotFound):
        await lab.store.cancel(run_id)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "retry", "sleep"])
async def test_of_cancel_and_commit_the_first_wins(lab: Lab, outcome: str) -> None:
    pod = lab.pod("p1")
    cancelled, committed = await lab.create(dag(a="")), await lab.create(dag(a=""))
    claims = {claim.run_id: claim for claim in await pod.claim(2)}
    await lab.cancel(cancelled)
    assert (await pod.commit(pod.end(claims[cancelled], outcome, delay_ms=1))).words == ["TERMINAL"]
    assert (await pod.commit(pod.end(claims[committed], outcome, delay_ms=1))).words == ["OK"]
    if outcome in {"succeeded", "failed"}:
        with pytest.raises(RunAlreadyFinished):
            await lab.store.cancel(committed)
        assert lab.run_field(committed, "state") == outcome
    else:
        await lab.cancel(committed)
    assert lab.run_field(cancelled, "state") == "cancelled"
    assert lab.states(cancelled) == {"a": "cancelled"}


async def test_nothing_of_a_cancelled_run_starts_any_more(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="", d="a"))
    a, b = await pod.claim(2)
    await pod.commit(pod.end(a, "retry", delay_ms=1))
    await lab.cancel(run_id)
    await pod.release(b)
    lab.bring_forward("retry", "sleep", "edges")
    await pod.fire()
    assert await pod.claim() == []
    assert [event for event in lab.events(run_id) if event.startswith("started")] == ["started 0 1 p1", "started 1 1 p1"]


async def test_readers_see_what_had_not_ended_as_cancelled_at_once(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b="", c="", d="a", e="c"))
    a, b, _ = await pod.claim(3)
    await pod.succeed(a)
    await pod.commit(pod.end(b, "sleep", "1", delay_ms=60_000))
    await lab.cancel(run_id)
    run, tasks = await lab.store.get_run_and_tasks(run_id, start=0, count=10)
    assert {state.value: count for state, count in run.counts.items() if count} == {"succeeded": 1, "cancelled": 4}
    assert [task.state.value for task in tasks] == ["succeeded", "cancelled", "cancelled", "cancelled", "cancelled"]
    assert {task.reason for task in tasks[1:]} == {"the run cancelled: enough"}
