"""A random walk over all scripts: two pods, a few runs, and the model of what they may do; everything is compared after each step."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

from storage.partition import Claim, Ended
from tests.support.key_dump import Raw
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod
from tests.support.run_model import RunModel

BUDGET = 2
MAX_LOST = 2
COUNTED = ("ready", "running", "waiting", "succeeded", "failed", "skipped")
FOLD = {
    "ready": "ready", "started": "running", "succeeded": "succeeded", "failed": "failed", "skipped": "skipped", "retry": "waiting",
    "sleep": "waiting", "cancelled": "cancelled", "released": "cancelled", "unheard": "cancelled", "lost": "cancelled",
}  # fmt: skip
"""Event → the task's state after it; what is given back is `cancelled` unless `ready` follows."""


def random_document(source: random.Random) -> dict[str, Any]:
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


class Walk:
    """`step` does one thing at random; `finish` brings every run to its end."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.random = lab, random.Random(seed)
        self.pods = [lab.pod("p1"), lab.pod("p2")]
        self.models: dict[str, RunModel] = {}
        self.heard: dict[str, list[Claim]] = {pod.name: [] for pod in self.pods}
        """Claims that each pod lists; not all of them are current."""
        self.old: list[Claim] = []
        self.tokens: dict[tuple[str, int], int] = {}
        self.last: dict[str, tuple[str, list[Ended], int, Any]] = {}
        self.met: Counter[str] = Counter()
        """How often each kind of step, and each answer, was met: a walk that never met one proves nothing about it."""

    async def step(self) -> None:
        pod = self.random.choice(self.pods)
        steps = [self.claim] * 4 + [self.commit] * 6 + [self.fire] * 2 + [self.pass_on] * 3
        steps += [self.create, self.repeat, self.release, self.go_silent, self.forget_a_reply, self.cancel, self.beat]
        step = self.random.choice(steps)
        self.met[step.__name__] += 1
        await step(pod)
        self.compare()

    async def create(self, pod: LabPod) -> None:
        del pod
        if sum(model.state == "running" for model in self.models.values()) < 4:
            run_id = await self.lab.create(random_document(self.random))
            self.models[run_id] = RunModel(self.lab.graphs[run_id], BUDGET)

    async def claim(self, pod: LabPod) -> None:
        op, want = self.lab.op(), self.random.randint(1, 3)
        claims = await pod.claim(want, op=op)
        self._received(pod, claims, want)
        if claims:
            self.last[pod.name] = (op, [], want, claims)

    async def commit(self, pod: LabPod) -> None:
        known = self.heard[pod.name] + self.random.sample(self.old, min(2, len(self.old)))
        chosen = self.random.sample(known, min(len(known), self.random.randint(1, 3)))
        if not chosen:
            return
        ends = [
            pod.end(claim, self.random.choice(["succeeded", "succeeded", "failed", "retry", "sleep"]), "1", delay_ms=60_000, budget=BUDGET)
            for claim in chosen
        ]
        op, want = self.lab.op(), self.random.randint(0, 2)
        expected = [self._model(claim).commit(claim.index, claim.claim_id, end.outcome) for claim, end in zip(chosen, ends, strict=True)]
        settled = await pod.commit(*ends, want=want, op=op)
        assert settled.words == expected
        self.met.update(settled.words)
        self._dropped(pod, chosen)
        self._received(pod, settled.claims, want)
        self.last[pod.name] = (op, ends, want, settled)

    async def repeat(self, pod: LabPod) -> None:
        if pod.name in self.last:
            op, ends, want, answer = self.last[pod.name]
            with self.lab.unchanged():
                assert answer == (await pod.commit(*ends, want=want, op=op) if ends else await pod.claim(want, op=op))

    async def release(self, pod: LabPod) -> None:
        known = self.heard[pod.name] + self.random.sample(self.old, min(1, len(self.old)))
        chosen = self.random.sample(known, min(len(known), 2))
        expected = [self._model(claim).give_back(claim.index, claim.claim_id) for claim in chosen]
        assert await pod.release(*chosen) == expected
        self._dropped(pod, chosen)

    async def beat(self, pod: LabPod) -> None:
        current = [claim for claim in self.heard[pod.name] if self._model(claim).tasks[claim.index].claim == claim.claim_id]
        pulse = pod.beat(*self.heard[pod.name])
        assert set(pulse.lost) == {claim.claim_id for claim in self.heard[pod.name]} - {claim.claim_id for claim in current}
        assert set(pulse.stop) == {claim.claim_id for claim in current if self._model(claim).state != "running"}
        self.met["lost claims"] += len(pulse.lost)
        self.met["claims to stop"] += len(pulse.stop)
        self._dropped(pod, [claim for claim in self.heard[pod.name] if claim.claim_id in pulse.lost])

    async def forget_a_reply(self, pod: LabPod) -> None:
        """The pod never heard of some of its claims."""
        unheard = self.random.sample(self.heard[pod.name], min(len(self.heard[pod.name]), 1))
        listed = [claim for claim in self.heard[pod.name] if claim not in unheard]
        expected = [self._model(claim).give_back(claim.index, claim.claim_id) for claim in unheard]
        pulse = pod.beat(*listed, unheard_before_ms=self.lab.now_ms() + 1)
        assert pulse.put_back == expected.count("OK")
        self._dropped(pod, unheard)
        self.last.pop(pod.name, None)

    async def go_silent(self, pod: LabPod) -> None:
        """The pod's deadline and some of its leases run out; another judges it; later it beats again and learns."""
        judge = next(other for other in self.pods if other is not pod)
        judge.beat(*self.heard[judge.name])
        self.lab.bury(pod)
        kept = self.random.sample(self.heard[pod.name], min(len(self.heard[pod.name]), self.random.randint(0, 1)))
        for claim in kept:
            self.lab.client.set(self.lab.key(f"lease:{claim.claim_id}"), pod.name, px=10_000)
        for claim in self.heard[pod.name]:
            if claim not in kept and self._model(claim).tasks[claim.index].claim == claim.claim_id:
                self._model(claim).lose(claim.index, MAX_LOST)
                self.met["lost"] += 1
        assert await judge.reap(max_lost=MAX_LOST) is not None
        for claim in kept:
            if self._model(claim).tasks[claim.index].claim != claim.claim_id:
                self.lab.client.delete(self.lab.key(f"lease:{claim.claim_id}"))
        self.compare()
        pod.beat()
        self.last.pop(pod.name, None)

    async def fire(self, pod: LabPod) -> None:
        self.lab.bring_forward("retry", "sleep")
        waiting = {
            (run_id, index): (self.lab.record(run_id, index) or "").split()[8]
            for run_id, model in self.models.items()
            for index, task in enumerate(model.tasks)
            if task.state == "waiting"
        }
        await pod.fire()
        for (run_id, index), kind in waiting.items():
            self.models[run_id].fire(index, "retry" if kind == "backoff" else kind)

    async def pass_on(self, pod: LabPod) -> None:
        due = [(run_id, *slice_) for run_id, model in self.models.items() for slice_ in sorted(model.slices)]
        if due:
            run_id, index, start = self.random.choice(due)
            expected = self.models[run_id].pass_on(index, start, BUDGET)
            assert (await pod.pass_on(run_id, index, start, width=BUDGET))[0] == expected
            assert (await pod.pass_on(run_id, index, start, width=BUDGET))[0] == "STALE"
            self.met[f"slice {expected}"] += 1

    async def cancel(self, pod: LabPod) -> None:
        del pod
        live = [run_id for run_id, model in self.models.items() if model.state == "running"]
        if live and self.random.random() < 0.4:
            run_id = self.random.choice(live)
            self.models[run_id].cancel()
            await self.lab.cancel(run_id)
            self.met["cancelled"] += 1

    async def finish(self) -> None:
        """Nothing goes wrong any more: every run ends."""
        while any(model.state == "running" for model in self.models.values()):
            for pod in self.pods:
                await self.fire(pod)
                while any(model.slices for model in self.models.values()):
                    await self.pass_on(pod)
                claims = self.heard[pod.name]
                ends = [pod.end(claim, budget=BUDGET) for claim in claims]
                for claim in claims:
                    self._model(claim).commit(claim.index, claim.claim_id, "succeeded")
                settled = await pod.commit(*ends, want=64)
                self._dropped(pod, claims)
                self._received(pod, settled.claims, 64)
                self.compare()

    def _model(self, claim: Claim) -> RunModel:
        return self.models[claim.run_id]

    def _received(self, pod: LabPod, claims: list[Claim], want: int) -> None:
        ready = sum(len(model.ready) for model in self.models.values())
        assert len(claims) == min(want, ready)
        for claim in claims:
            self._model(claim).claimed(claim.index, claim.claim_id)
            assert claim.attempt == self._model(claim).tasks[claim.index].attempt
            assert claim.fencing_token > self.tokens.get((claim.run_id, claim.index), 0)
            self.tokens[claim.run_id, claim.index] = claim.fencing_token
        self.heard[pod.name] += claims

    def _dropped(self, pod: LabPod, claims: list[Claim]) -> None:
        self.old = (self.old + claims)[-20:]
        self.heard[pod.name] = [claim for claim in self.heard[pod.name] if claim not in claims]

    def compare(self) -> None:
        """The store is what the model says, and every part of it agrees with every other."""
        raw = self.lab.raw()
        places = Places(raw)
        for run_id, model in self.models.items():
            places.compare(run_id, model)
        places.compare_leases(self.models)


class Places:
    """Where the dump says that tasks are."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        lanes = [member for key in raw if key.startswith("lane:") for member in self._members(key)]
        assert len(lanes) == len(set(lanes))
        self.lanes = {tuple(member.split()[:2]) for member in lanes}
        self.timers, self.audits = self._members("timers"), self._members("audits")
        self.claims = {
            (ref.split()[1], ref.split()[2]): (key.removeprefix("claims:"), ref.split()[0])
            for key in raw
            if key.startswith("claims:")
            for ref in self._members(key)
        }

    def _members(self, key: str) -> list[str]:
        return [member.decode() for member, _ in cast("list[tuple[bytes, float]]", self.raw[key][0])] if key in self.raw else []

    def _hash(self, key: str) -> dict[str, str]:
        value = cast("dict[bytes, bytes]", self.raw[key][0]) if key in self.raw else {}
        return {field.decode(): text.decode() for field, text in value.items()}

    def compare(self, run_id: str, model: RunModel) -> None:
        row, records = self._hash(f"run:{run_id}"), self._hash(f"run:{run_id}:tasks")
        assert row["state"] == model.state
        assert (run_id in self.audits) == (model.state == "running")
        states: list[str] = []
        for index, task in enumerate(model.tasks):
            words = records.get(str(index), "pending 0 0 0 - - - - -").split("\n")[0].split(" ")
            assert (words[0], int(words[1]), int(words[2])) == (task.state, task.attempt, task.lost), f"task {index}"
            states.append(words[0])
            if task.state == "running":
                assert (words[7], words[8]) == self.claims[run_id, str(index)]
            if model.state == "running":
                assert ((run_id, str(index)) in self.lanes) == (task.state == "ready")
                assert self._timers_of(run_id, index) == (1 if task.state == "waiting" else 0)
        counted = Counter(states)
        assert {state: int(row[state]) for state in COUNTED} == {state: counted[state] for state in COUNTED}
        slices = {(text.split()[2], int(text.split()[3])) for text in self.timers if text.startswith(f"edges {run_id} ")}
        assert slices == model.slices
        assert self._folded(run_id, len(states)) == states
        for suffix in ("", ":tasks", ":events", ":graph", ":edges", ":attempts", ":effects"):
            if f"run:{run_id}{suffix}" in self.raw:
                assert (self.raw[f"run:{run_id}{suffix}"][1] > 0) == (model.state != "running")

    def _timers_of(self, run_id: str, index: int) -> int:
        return sum(text.startswith((f"retry {run_id} {index} ", f"sleep {run_id} {index} ")) for text in self.timers)

    def _folded(self, run_id: str, size: int) -> list[str]:
        states = ["pending"] * size
        for line in cast("list[bytes]", self.raw[f"run:{run_id}:events"][0]):
            _, kind, *rest = line.decode().split(" ")
            if not kind.startswith("run_") and kind != "repaired":
                states[int(rest[0])] = FOLD[kind]
        return states

    def compare_leases(self, models: dict[str, RunModel]) -> None:
        """Leases and the pods' lists hold exactly the current claims; a lease may have run out."""
        current = {task.claim for model in models.values() for task in model.tasks if task.claim}
        assert {claim for _, claim in self.claims.values()} == current
        assert {key.removeprefix("lease:") for key in self.raw if key.startswith("lease:")} <= current
