"""Takes things out of a store that no script would, and carries a run to its end whatever was taken."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random
from typing import Any, cast

from scheduler.auditor import Auditor
from storage.partition import Claim
from tests.support.bench import Recorder
from tests.support.key_dump import Raw
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod

BUDGET = 2
"""Successors that a commit tells; the rest are slices."""
ROUNDS = 60
INDEXES = ("lane:", "lanes", "claims:", "pods", "timers", "lease:", "audits")


def random_document(source: random.Random) -> dict[str, Any]:
    """A DAG of up to seven tasks."""
    size = source.randint(1, 7)
    tasks = {
        f"t{number}": {
            "depends_on": [f"t{before}" for before in range(number) if source.random() < 0.45],
            "allow_failure": source.random() < 0.2,
            "priority": source.choice([0, 0, 5]),
        }
        for number in range(size)
    }
    return dag(on_failure=source.choice(["continue", "continue", "stop"]), **tasks)


def auditor_of(lab: Lab, pod: LabPod, published: Recorder | None = None) -> Auditor:
    """An auditor for which a run is quiet when nothing has happened for a millisecond."""
    heard = published or Recorder()
    return Auditor(lab.partition, pod.who, after_seconds=0.001, publisher=heard, on_due=lambda: None, search_again_seconds=0)


def places(raw: Raw, run_id: str) -> dict[str, list[str]]:
    """All that can be taken: key → its members or fields, and "" for the whole of it. A run's own keys, but for its edge counts, stay."""
    found: dict[str, list[str]] = {}
    for key, (value, _) in sorted(raw.items()):
        if key.startswith(INDEXES) or key == f"run:{run_id}:edges":
            found[key] = [""]
            match value:
                case dict():
                    found[key] += [field.decode() for field in sorted(value)]
                case list():
                    found[key] += [cast("tuple[bytes, float]", row)[0].decode() for row in value]
                case _:
                    pass
    return found


def take(lab: Lab, run_id: str, choice: int) -> None:
    """Takes one of `places` out of the store, if any is left."""
    if not (there := places(lab.raw(), run_id)):
        return
    key = list(there)[choice % len(there)]
    member = there[key][choice // len(there) % len(there[key])]
    if not member:
        lab.client.delete(lab.key(key))
    elif key.endswith(":edges"):
        lab.client.hdel(lab.key(key), member)
    else:
        lab.client.zrem(lab.key(key), member)


class Drive:
    """One run and two pods. What each task does when it runs is settled beforehand, so the run's end is known."""

    def __init__(self, lab: Lab, run_id: str, source: random.Random) -> None:
        self.lab, self.run_id, self.random = lab, run_id, source
        self.graph = lab.graphs[run_id].graph
        self.pods = [lab.pod("p1"), lab.pod("p2")]
        self.published = Recorder()
        self.auditor = auditor_of(lab, self.pods[0], self.published)
        self.holds: dict[str, list[Claim]] = {"p1": [], "p2": []}
        self.dead: set[str] = set()
        draw = [source.random() for _ in self.graph.tasks]
        self.outcomes = [
            "failed" if number < 0.2 else "retry" if number < 0.4 else "sleep" if number < 0.5 else "succeeded" for number in draw
        ]
        self.looks_that_repaired = 0

    def expected(self) -> dict[str, str]:
        """The state in which each task ends."""
        states: dict[str, str] = {}
        for task_id in self.graph.order():
            index = self.graph.index_of[task_id]
            before = [states[self.graph.tasks[other].id] for other in self.graph.predecessors[index]]
            ends = "failed" if self.outcomes[index] == "failed" else "succeeded"
            states[task_id] = ends if all(state == "succeeded" for state in before) else "skipped"
        return {task.id: states[task.id] for task in self.graph.tasks}

    async def step(self) -> None:
        """One thing that pods do, at random."""
        pod = self.random.choice(self.pods)
        await self.random.choice([self._claim, self._commit, self._commit, self._fire, self._pass])(pod)

    async def finish(self) -> None:
        """Carries the run to its end. Where a whole round moves nothing, an audit must."""
        for _ in range(ROUNDS):
            if self.lab.run_field(self.run_id, "state") != "running":
                return
            before = self._events()
            for pod in self.pods:
                if pod.name not in self.dead:
                    self._beat(pod)
                    await self._fire(pod)
                    await self._pass(pod)
                    await self._claim(pod)
                    while self.holds[pod.name]:
                        await self._commit(pod)
            if self.dead:
                await self._reap()
            if self._events() == before:
                assert await self.auditor.look(self.run_id), f"{self.lab.states(self.run_id)} is in limbo and nobody sees it"
                self.looks_that_repaired += 1
        raise AssertionError(f"after {ROUNDS} rounds: {self.lab.shown()}")

    def die(self) -> None:
        """The second pod is gone, and what it held with it."""
        self.dead.add("p2")
        self.holds["p2"] = []
        self.lab.bury(self.pods[1])

    def _events(self) -> int:
        return len(self.lab.events(self.run_id))

    def _beat(self, pod: LabPod) -> None:
        pulse = pod.beat(*self.holds[pod.name], say=True, unheard_before_ms=self.lab.now_ms() + 1)
        self.holds[pod.name] = [claim for claim in self.holds[pod.name] if claim.claim_id not in {*pulse.lost, *pulse.stop}]

    async def _reap(self) -> None:
        if self.lab.client.zscore(self.lab.keys.pods, "p2") is not None:
            self.lab.bury(self.pods[1])
        await self.pods[0].reap()

    async def _claim(self, pod: LabPod) -> None:
        if pod.name not in self.dead:
            self.holds[pod.name] += [claim for claim in await pod.claim(self.random.randint(1, 3)) if claim.run_id == self.run_id]

    async def _commit(self, pod: LabPod) -> None:
        if self.holds[pod.name]:
            claim = self.holds[pod.name].pop(self.random.randrange(len(self.holds[pod.name])))
            outcome = self.outcomes[claim.index]
            if outcome == "retry" and claim.attempt > 1:
                outcome = "succeeded"
            await pod.commit(pod.end(claim, outcome, '{"type":"E"}', delay_ms=60_000, budget=BUDGET))

    async def _fire(self, pod: LabPod) -> None:
        del pod
        self.lab.bring_forward("retry", "sleep")
        await self.lab.partition.fire_timers()

    async def _pass(self, pod: LabPod) -> None:
        timers = cast("list[bytes]", self.lab.client.zrange(self.lab.key("timers"), 0, -1))
        for slice_ in [member.decode().split(" ")[1:] for member in timers if member.startswith(b"edges ")]:
            run_id, index, start = slice_
            await pod.pass_on(run_id, index, int(start), width=BUDGET)


def counts_agree(lab: Lab, run_id: str) -> bool:
    """The run's counters equal a recount of its records."""
    states = list(lab.states(run_id).values())
    names: tuple[Any, ...] = ("ready", "running", "waiting", "succeeded", "failed", "skipped")
    return {name: int(lab.run_field(run_id, name) or 0) for name in names} == {name: states.count(name) for name in names}
