"""Runs and tasks as they are read say that nobody can run them, and a page costs one more look at most."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from storage import stuck
from storage.stuck import Fresh
from storage.views import TaskView
from tests.integration.storage.test_explain import living
from tests.support.lab import Lab, dag


async def reasons(lab: Lab, run_id: str) -> list[str | None]:
    """Of all tasks, by what pods say at this moment."""
    lab.store._fresh = Fresh()  # pyright: ignore[reportPrivateUsage]
    return [task.reason for task in await lab.store.get_tasks(run_id, start=0, count=10)]


async def nothing_runs(lab: Lab, run_id: str) -> str | None:
    lab.store._fresh = Fresh()  # pyright: ignore[reportPrivateUsage]
    return await lab.store.why_nothing_runs(await lab.store.get_run(run_id))


async def test_a_ready_task_says_that_no_living_pod_can_run_it(lab: Lab) -> None:
    living(lab)
    run_id = await lab.create(dag(a={"task": "rare"}, b="", c="a"))
    assert await reasons(lab, run_id) == ["no pod registers rare", None, None]
    view: TaskView = await lab.store.get_task(run_id, "a")
    assert view.reason == "no pod registers rare"
    living(lab, "p2", catalog=[{"name": "rare"}])
    assert await reasons(lab, run_id) == [None, None, None]


async def test_a_pod_that_has_not_said_what_it_can_do_might_do_anything(lab: Lab) -> None:
    living(lab)
    lab.pod("p2")
    run_id = await lab.create(dag(a={"task": "rare"}))
    assert await reasons(lab, run_id) == [None]
    assert await nothing_runs(lab, run_id) is None


async def test_a_run_of_which_nothing_runs_says_why(lab: Lab) -> None:
    pod = living(lab, concurrency=1)
    run_id = await lab.create(dag(a={"task": "rare"}, b=""))
    assert await nothing_runs(lab, run_id) == "nothing runs: no pod registers rare (task a)"
    claim = await pod.claim_one()
    assert await nothing_runs(lab, run_id) is None
    await pod.succeed(claim)
    assert await nothing_runs(lab, run_id) == "nothing runs: no pod registers rare (task a)"
    await lab.cancel(run_id)
    assert await nothing_runs(lab, run_id) is None


async def test_a_run_whose_pods_are_busy_with_others_says_so(lab: Lab) -> None:
    pod = living(lab, concurrency=1)
    await lab.create(dag(a=""))
    await pod.claim_one()
    run_id = await lab.create(dag(a="", b=""))
    assert await nothing_runs(lab, run_id) == "nothing runs: all slots are taken: p1 1/1 (task a)"


async def test_a_run_that_waits_for_its_turn_or_for_a_timer_is_not_stuck(lab: Lab) -> None:
    pod = living(lab)
    run_id = await lab.create(dag(a=""))
    assert await nothing_runs(lab, run_id) is None
    await pod.commit(pod.end(await pod.claim_one(), "sleep", "1", delay_ms=60_000))
    assert await nothing_runs(lab, run_id) is None


async def test_what_pods_say_is_read_once_a_second(lab: Lab) -> None:
    living(lab)
    now = [100.0]
    lab.store._fresh = Fresh(lambda: now[0])  # pyright: ignore[reportPrivateUsage]
    run_id = await lab.create(dag(a={"task": "rare"}))
    assert (await lab.store.get_task(run_id, "a")).reason is not None
    living(lab, "p2", catalog=[{"name": "rare"}])
    now[0] += stuck.FRESH_SECONDS
    assert (await lab.store.get_task(run_id, "a")).reason is not None
    now[0] += 0.1
    assert (await lab.store.get_task(run_id, "a")).reason is None
