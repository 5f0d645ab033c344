"""Which ready task goes to which pod, and when: priority, then age; only what a pod can do; never held up by what it cannot."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from storage.partition import Claim
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


def ids(lab: Lab, claims: list[Claim]) -> list[str]:
    """`R1.a` for task a of the first run."""
    return [f"{lab.narrator.names[claim.run_id]}.{lab.graphs[claim.run_id].graph.tasks[claim.index].id}" for claim in claims]


async def one_by_one(pod: LabPod, count: int) -> list[Claim]:
    return [await pod.claim_one() for _ in range(count)]


async def a_later_ms(lab: Lab) -> None:
    now = lab.now_ms()
    while lab.now_ms() == now:
        pass


@pytest.mark.parametrize("together", [True, False], ids=["in one call", "one by one"])
async def test_the_highest_priority_comes_first_and_then_the_oldest_over_all_lanes(lab: Lab, together: bool) -> None:
    pod = lab.pod("p1", queues=["default", "big"])
    for _ in range(2):
        await lab.create(
            dag(
                low={"priority": -100},
                a={},
                b={"task": "task_b", "priority": 1},
                c={"task": "task_c", "queue": "big"},
                high={"task": "task_b", "priority": 100},
            )
        )
        await a_later_ms(lab)
    claims = await pod.claim(10) if together else await one_by_one(pod, 10)
    got = ids(lab, claims)
    assert got[:4] == ["R1.high", "R2.high", "R1.b", "R2.b"]
    assert [set(got[4:6]), set(got[6:8])] == [{"R1.a", "R1.c"}, {"R2.a", "R2.c"}]
    assert got[8:] == ["R1.low", "R2.low"]


async def test_a_task_that_comes_back_stands_behind_those_that_waited(lab: Lab) -> None:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b=""))
    first = await pod.claim_one()
    await a_later_ms(lab)
    await pod.release(first)
    assert ids(lab, await pod.claim()) == ["R1.b", "R1.a"]


@pytest.mark.parametrize("task", [{"task": "unheard_of"}, {"queue": "elsewhere"}, {"task": "task"}, {"queue": "def"}])
async def test_a_task_that_no_pod_can_do_stays_in_the_queue(lab: Lab, task: dict[str, str]) -> None:
    pod = lab.pod("p1", functions=["task_a", "my_task"])
    await lab.create(dag(a=task))
    lanes = {key: value for key, value in lab.shown().items() if key.startswith("lane")}
    assert await pod.claim() == []
    assert {key: value for key, value in lab.shown().items() if key.startswith("lane")} == lanes


async def test_each_pod_takes_only_what_it_can_do(lab: Lab) -> None:
    left, right = lab.pod("p1", ["task_a"], ["default", "big"]), lab.pod("p2", ["task_a", "task_b"])
    await lab.create(dag(a="", b={"task": "task_b"}, c={"queue": "big"}, d={"task": "task_b", "queue": "big"}))
    assert set(ids(lab, await left.claim())) == {"R1.a", "R1.c"}
    assert ids(lab, await right.claim()) == ["R1.b"]
    assert lab.shown()["lanes"] == {"big/task_b": "0 t"}


async def test_a_claim_wakes_pods_that_can_do_what_this_one_cannot(lab: Lab) -> None:
    left, right = lab.pod("p1", ["task_a"]), lab.pod("p2", ["task_b"])
    await lab.create(dag(b={"task": "task_b"}))
    lab.stand_idle(right)
    await left.claim()
    assert lab.take_inbox(right) == ["ready"]


@pytest.fixture
def nobodys_lanes(lab: Lab) -> Generator[list[str]]:
    """The oldest tasks of the store are in lanes that no pod serves."""
    names = [f"nobody{number}/task_a" for number in range(2_000)]
    lab.client.zadd(lab.key("lanes"), {name: number for number, name in enumerate(names)})
    yield names
    lab.client.zrem(lab.key("lanes"), *names)


@pytest.mark.usefixtures("nobodys_lanes")
async def test_thousands_of_lanes_that_nobody_serves_hide_nothing(lab: Lab) -> None:
    pod = lab.pod("p1", queues=["default", "big"])
    await lab.create(dag(a={"queue": "big"}, b={"task": "task_b", "priority": 1}, c={"task": "task_c", "priority": -1}))
    assert ids(lab, await pod.claim()) == ["R1.b", "R1.a", "R1.c"]


@pytest.mark.usefixtures("nobodys_lanes")
async def test_a_claim_that_leaves_something_wakes_an_idle_pod_among_thousands_of_lanes(lab: Lab) -> None:
    busy, free = lab.pod("p1"), lab.pod("p2")
    await lab.create(dag(a="", b=""))
    lab.stand_idle(free)
    assert len(await busy.claim(1)) == 1
    assert lab.take_inbox(free) == ["ready"]


@pytest.mark.usefixtures("nobodys_lanes")
async def test_a_commit_wakes_the_pods_for_what_it_makes_ready_among_thousands_of_lanes(lab: Lab) -> None:
    left, right = lab.pod("p1", ["task_a"]), lab.pod("p2", ["task_b"])
    await lab.create(dag(a="", b={"task": "task_b", "depends_on": ["a"]}))
    claim = await left.claim_one()
    lab.stand_idle(right)
    await left.commit(left.end(claim), want=1)
    assert lab.take_inbox(right) == ["ready"]


@pytest.mark.parametrize("pods", [1, 2])
async def test_ready_tasks_of_a_cancelled_run_hold_nobody_up(lab: Lab, pods: int) -> None:
    """A claim looks at a bounded number of them; a pod that found nothing among those is told to look again."""
    crew = [lab.pod(f"p{number}") for number in range(pods)]
    for pod in crew:
        await pod.claim()
    cancelled = await lab.create(dag(a=""))
    await lab.cancel(cancelled)
    lab.client.zadd(lab.key("lane:default/task_a"), {f"{cancelled} {number} -": 5 for number in range(10_000)})
    lab.client.zadd(lab.key("lanes"), {"default/task_a": 5})
    run_id = await lab.create(dag(a=""))
    looks = 0
    claims: list[Claim] = []
    while not claims:
        woken = next((pod for pod in crew if "ready" in lab.take_inbox(pod)), None)
        assert woken is not None, f"nobody looks again after {looks} calls"
        claims = await woken.claim()
        looks += 1
    assert [claim.run_id for claim in claims] == [run_id]
    assert looks <= 12


async def test_a_call_opens_a_bounded_number_of_lanes_takes_all_that_is_due_there_and_comes_back_for_the_rest(lab: Lab) -> None:
    functions = [f"f{number:03}" for number in range(150)]
    pod = lab.pod("p1", functions)
    urgent = {f"t{number}": {"task": functions[number % 100], "priority": -(number // 100)} for number in range(200)}
    late = {f"u{number}": {"task": functions[100 + number], "priority": -2} for number in range(50)}
    await lab.create(dag(**urgent, **late))
    first = await pod.claim(256)
    assert "ready" in lab.take_inbox(pod)
    second = await pod.claim(256)
    priorities = [[lab.graphs[claim.run_id].graph.tasks[claim.index].priority for claim in claims] for claims in (first, second)]
    assert priorities == [[0] * 100 + [-1] * 100, [-2] * 50]
    assert "lanes" not in lab.shown()
