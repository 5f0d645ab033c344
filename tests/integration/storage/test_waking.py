"""Idle pods hear of ready tasks: the newest first, whatever other pods are, or were, there."""

from __future__ import annotations

from tests.support.expected import SKILLS, idle
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


def crowd(lab: Lab, groups: int) -> list[LabPod]:
    """Idle pods, each of which can do something that no other can."""
    pods = [lab.pod(f"p{number}", [f"f{number}"]) for number in range(groups)]
    lab.stand_idle(*pods)
    return pods


async def test_the_two_pods_that_became_idle_last_are_woken(lab: Lab) -> None:
    pods = [lab.pod(f"p{number}") for number in range(4)]
    for number, pod in enumerate(pods):
        await pod.claim()
        lab.client.zadd(lab.key(f"waiting:{pod.who.capabilities_digest}"), {pod.name: lab.now_ms() - 10 + number})
    await lab.create(dag(a=""))
    assert [lab.take_inbox(pod) for pod in pods] == [[], [], ["ready"], ["ready"]]
    assert lab.shown()[f"waiting:{SKILLS}"].keys() == {"(until)", "p0", "p1"}
    await lab.create(dag(a=""))
    assert [lab.take_inbox(pod) for pod in pods] == [["ready"], ["ready"], [], []]
    assert lab.shown().keys() & idle("p0").keys() == {"waiting"}


async def test_one_of_a_hundred_different_pods_is_woken_for_its_task(lab: Lab) -> None:
    pods = crowd(lab, 100)
    for number in (0, 50, 99):
        await lab.create(dag(a={"task": f"f{number}"}))
        assert [pod.name for pod in pods if lab.take_inbox(pod)] == [f"p{number}"]


async def test_a_pod_is_woken_though_hundreds_of_earlier_versions_have_come_and_gone(lab: Lab) -> None:
    """Each version of the task functions has another digest; those of pods that died are taken out in time."""
    now = lab.now_ms()
    lab.client.zadd(lab.key("waiting"), {f"digest{number}": now - 600_000 + number for number in range(300)})
    pod = lab.pod("p1")
    await pod.claim()
    await lab.create(dag(a=""))
    assert lab.take_inbox(pod) == ["ready"]
    assert lab.shown().get("waiting", {}).keys() <= {SKILLS}


async def test_a_group_whose_capabilities_are_forgotten_is_left_alone(lab: Lab) -> None:
    pod, gone = lab.pod("p1"), lab.pod("p2", ["task_a"])
    lab.stand_idle(pod, gone)
    lab.client.delete(lab.key(f"capabilities:{gone.who.capabilities_digest}"))
    await lab.create(dag(a=""))
    assert (lab.take_inbox(pod), lab.take_inbox(gone)) == (["ready"], [])


async def test_a_pod_that_leaves_is_not_woken_any_more(lab: Lab) -> None:
    stays, leaves = lab.pod("p1"), lab.pod("p2")
    lab.stand_idle(stays, leaves)
    await leaves.release(leave=True)
    await lab.create(dag(a=""))
    assert (lab.take_inbox(stays), lab.take_inbox(leaves)) == (["ready"], [])


async def test_a_wake_up_that_only_dead_pods_got_is_given_to_a_living_one_when_they_are_reaped(lab: Lab) -> None:
    living, *dead = lab.pod("p0"), lab.pod("p1"), lab.pod("p2")
    lab.stand_idle(living)
    lab.client.zadd(lab.key(f"waiting:{living.who.capabilities_digest}"), {"p0": lab.now_ms() - 1_000})
    lab.stand_idle(*dead)
    await lab.create(dag(a=""))
    assert lab.take_inbox(living) == []
    lab.bury(*dead)
    await living.reap()
    assert lab.take_inbox(living) == ["ready"]


async def test_reaped_pods_are_not_woken_any_more(lab: Lab) -> None:
    living, *dead = lab.pod("p0"), lab.pod("p1"), lab.pod("p2")
    lab.stand_idle(living)
    lab.client.zadd(lab.key(f"waiting:{living.who.capabilities_digest}"), {"p0": lab.now_ms() - 1_000})
    lab.stand_idle(*dead)
    lab.bury(*dead)
    await living.reap()
    await lab.create(dag(a=""))
    assert [lab.take_inbox(pod) for pod in (living, *dead)] == [["ready"], [], []]


async def test_tasks_made_ready_by_a_pod_that_must_report_first_wake_another(lab: Lab) -> None:
    pod, free = lab.pod("p1", ["task_a", "task_b"]), lab.pod("p2")
    run_id = await lab.create(dag(a="", b="a"))
    claim = await pod.claim_one()
    lab.stand_idle(free)
    lab.client.delete(lab.key(f"capabilities:{pod.who.capabilities_digest}"))
    settled = await pod.commit(pod.end(claim), want=1)
    assert (settled.words, settled.registered) == (["OK"], False)
    assert lab.states(run_id) == {"a": "succeeded", "b": "ready"}
    assert lab.take_inbox(free) == ["ready"]
