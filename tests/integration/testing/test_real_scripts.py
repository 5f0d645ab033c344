"""What the scripts write when pods die, come back late and are told to stop is right; what they did not write is found."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest

from peerflow.testing.checker import check
from peerflow.testing.history import History
from peerflow.testing.records import RunRecord, read_run
from storage.partition import Claim
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod


@pytest.fixture
async def lab(valkey_url: str, namespace: str) -> AsyncGenerator[Lab]:
    lab = await Lab.open(valkey_url, namespace)
    yield lab
    await lab.tidy()
    await lab.close()


class Clerk:
    """Reads a run after each step, and notes what its code would have noted."""

    def __init__(self, lab: Lab, run_id: str) -> None:
        self.lab, self.run_id = lab, run_id
        self.history = History()
        self.read: list[RunRecord] = []

    async def look(self) -> None:
        self.read.append(await read_run(self.lab.store, self.run_id))

    async def starts(self, pod: LabPod, claim: Claim) -> None:
        task = self.lab.graphs[self.run_id].graph.tasks[claim.index]
        self.history.attempt_started(
            run_id=self.run_id, task_id=task.id, attempt=claim.attempt, fencing_token=claim.fencing_token, pod_id=pod.name
        )
        await self.look()

    def found(self, *, max_lost: int = 3) -> list[str]:
        return [str(violation) for violation in check(self.history, self.read, max_lost=max_lost)]


async def test_pods_that_die_come_back_late_or_give_back_leave_right_events(lab: Lab) -> None:
    one, two = lab.pod("one"), lab.pod("two")
    clerk = Clerk(lab, await lab.create(dag(a="", b="a", c="b")))
    zombie = await one.claim_one()
    await clerk.starts(one, zombie)
    lab.bury(one)
    assert await two.reap() is not None
    await clerk.look()
    again = await two.claim_one()
    await clerk.starts(two, again)
    assert await one.succeed(zombie) == ["STALE"]
    assert await two.succeed(again) == ["OK"]
    await clerk.look()
    one.beat(say=True)
    released = await one.claim_one()
    await one.release(released)
    await clerk.look()
    await one.claim_one()
    one.beat(unheard_before_ms=lab.now_ms() + 1)
    await clerk.look()
    last = await one.claim_one()
    await clerk.starts(one, last)
    assert (released.attempt, last.attempt) == (1, 1)
    await one.succeed(last)
    end = await two.claim_one()
    await clerk.starts(two, end)
    await two.succeed(end)
    await clerk.look()
    assert clerk.read[-1].run.state == "succeeded"
    assert clerk.found() == []


async def test_a_task_whose_pods_die_too_often_leaves_right_events(lab: Lab) -> None:
    poisoned, judge = lab.pod("poisoned"), lab.pod("judge")
    clerk = Clerk(lab, await lab.create(dag(a="", b="a", c="b")))
    for _ in range(3):
        poisoned.beat(say=True)
        await clerk.starts(poisoned, await poisoned.claim_one())
        lab.bury(poisoned)
        assert await judge.reap(max_lost=2) is not None
        await clerk.look()
    await judge.pass_everything_on()
    await clerk.look()
    assert clerk.read[-1].run.state == "failed"
    assert clerk.found(max_lost=2) == []
    assert {text.split()[0] for text in clerk.found(max_lost=3)} == {"S6"}


@pytest.mark.parametrize("by", ["failure", "cancel"])
async def test_attempts_that_outlive_their_run_leave_right_events(lab: Lab, by: str) -> None:
    one, two = lab.pod("one"), lab.pod("two")
    clerk = Clerk(lab, await lab.create(dag(on_failure="stop", a="", b="", c="", d="", e="")))
    failing, refused, released, lost = [await one.claim_one() for _ in range(3)] + [await two.claim_one()]
    for claim in (failing, refused, released):
        await clerk.starts(one, claim)
    if by == "cancel":
        number = clerk.history.invoke("cancel", run_id=clerk.run_id)
        await lab.cancel(clerk.run_id)
        clerk.history.ok(number, run_id=clerk.run_id, state="cancelled")
    settled = await one.commit(one.end(failing, "failed", '{"type":"E"}'), one.end(refused))
    assert settled.words == (["OK", "TERMINAL"] if by == "failure" else ["TERMINAL", "TERMINAL"])
    await clerk.look()
    await one.release(released)
    await clerk.look()
    lab.bury(two)
    await one.reap()
    await clerk.look()
    assert lost.claim_id
    assert clerk.found() == []


PLANTED: list[tuple[str, Callable[[Lab, str], object]]] = [
    ("S3", lambda lab, run_id: lab.client.rpush(lab.keys.events(run_id), "9 succeeded 0 1 one")),
    ("S12", lambda lab, run_id: lab.client.hset(lab.keys.run(run_id), "succeeded", 2)),
    ("S12", lambda lab, run_id: lab.client.hset(lab.keys.run(run_id), "state", "failed")),
    ("S6", lambda lab, run_id: lab.client.hset(lab.keys.tasks(run_id), "0", f"succeeded 2 0 {2**53} 0 0 0 one -\ntrue")),
    ("S14", lambda lab, run_id: lab.client.hset(lab.keys.tasks(run_id), "0", "succeeded 1 0 7 0 0 0 one -\ntrue")),
    ("S2", lambda lab, run_id: lab.client.hset(lab.keys.tasks(run_id), "0", f"succeeded 1 0 {2**53} 0 0 0 two -\nfalse")),
    ("S13", lambda lab, run_id: lab.client.lpop(lab.keys.events(run_id))),
]


@pytest.mark.parametrize(("invariant", "plant"), PLANTED)
async def test_what_no_script_would_write_is_found(lab: Lab, invariant: str, plant: Callable[[Lab, str], object]) -> None:
    pod = lab.pod("one")
    clerk = Clerk(lab, await lab.create(dag(a="", b="a", c="b")))
    while claims := await pod.claim(1):
        await clerk.starts(pod, claims[0])
        await pod.succeed(*claims)
    clerk.read.clear()
    await clerk.look()
    assert clerk.found() == []
    plant(lab, clerk.run_id)
    clerk.read.clear()
    await clerk.look()
    assert invariant in {text.split()[0] for text in clerk.found()}
