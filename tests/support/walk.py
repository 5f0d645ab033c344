"""One step after another on a real server, each beside the model of it; everything is compared after each.

A step is told what to do by numbers: which claim, which run, are taken round the end of what there is.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from storage.partition import Claim, Ended, Settled
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod
from tests.support.places import Places
from tests.support.run_model import RunModel
from tests.support.store_model import Ref, StoreModel, Told

BUDGET = 2
"""Edges that one call passes on."""
MAX_LOST = 1
TTL_MS = 60_000
"""Longer than any walk takes: what runs out runs out because a step says so."""
ALL_UNHEARD = 2**52
"""An instant, in ms, before which all claims were made."""


def ref_of(claim: Claim) -> Ref:
    return Ref(claim.run_id, claim.index, claim.claim_id)


def document(size: int, edges: int, allowed: int, *, stop: bool, priority: int) -> dict[str, Any]:
    """A DAG of `size` tasks: a bit of `edges` for each pair of them, one of `allowed` for each whose failure is allowed.

    Each has another priority, so that the order in which tasks are claimed does not depend on the millisecond in which they became
    ready: the same steps lead to the same store.
    """
    pairs = [(before, after) for after in range(size) for before in range(after)]
    tasks = {
        f"t{number}": {
            "depends_on": [f"t{before}" for bit, (before, after) in enumerate(pairs) if after == number and edges >> bit & 1],
            "allow_failure": bool(allowed >> number & 1),
            "priority": priority + number,
        }
        for number in range(size)
    }
    return dag(on_failure="stop" if stop else "continue", **tasks)


@dataclass
class Doing:
    """A pod, what it knows of its claims, and its last call."""

    lab_pod: LabPod
    heard: list[Claim] = field(default_factory=list[Claim])
    """Claims that it lists; not all of them are current."""
    last: tuple[str, list[tuple[Ref, str]], list[Ended], int] | None = None
    """Operation id, ends (as the model and as the server have them), and how many tasks it wanted."""


class Walk:
    """Two pods and a few runs."""

    def __init__(self, lab: Lab, pods: Sequence[LabPod]) -> None:
        self.lab, self.model = lab, StoreModel(MAX_LOST)
        self.pods = [Doing(pod) for pod in pods]
        self.old: list[Claim] = []
        """Claims that some pod held once."""
        self.tokens: dict[tuple[str, int], int] = {}
        self.met: Counter[str] = Counter()
        """How often each answer was met: steps that never met one prove nothing about it."""
        for doing in self.pods:
            doing.lab_pod.beat(say=True)
            self.model.heartbeat(doing.lab_pod.name, ())

    @property
    def live(self) -> int:
        """Runs that go on."""
        return sum(run.state == "running" for run in self.model.runs.values())

    def compare(self) -> None:
        Places(self.lab.raw()).compare(self.model)

    async def create(self, size: int, edges: int, allowed: int, *, stop: bool) -> None:
        given = document(size, edges, allowed, stop=stop, priority=10 * len(self.model.runs))
        run_id = await self.lab.create(given)
        self.model.runs[run_id] = RunModel(compile_definition(WorkflowDefinition.model_validate(given)), BUDGET)

    async def claim(self, number: int, want: int, *, deaf: bool) -> None:
        """`deaf`: the reply is lost."""
        doing, op = self.pods[number], self.lab.op()
        await self._claims(doing, op, [], [], want, deaf=deaf)

    async def commit(self, number: int, picks: Sequence[tuple[int, str]], want: int, *, deaf: bool) -> None:
        doing = self.pods[number]
        known = doing.heard + self.old[-2:]
        chosen = {known[pick % len(known)].claim_id: (known[pick % len(known)], outcome) for pick, outcome in picks if known}
        ends = [doing.lab_pod.end(claim, outcome, "1", delay_ms=TTL_MS, budget=BUDGET) for claim, outcome in chosen.values()]
        if ends:
            await self._claims(doing, self.lab.op(), [(ref_of(claim), end) for claim, end in chosen.values()], ends, want, deaf=deaf)
            self._forget(doing, [claim for claim, _ in chosen.values()])

    async def _claims(self, doing: Doing, op: str, meant: list[tuple[Ref, str]], ends: list[Ended], want: int, *, deaf: bool) -> None:
        """Claim or commit, of the server and of the model, and what follows for the pod."""
        pod = doing.lab_pod
        settled = await self._call(pod, op, ends, want)
        new = tuple(ref_of(claim) for claim in settled.claims)

        def choose(store: StoreModel) -> Sequence[Ref]:
            ready = sum(len(run.claimable) for run in store.runs.values())
            assert len(new) == min(want, ready)
            return new

        told = self.model.commit(pod.name, op, meant, choose) if ends else self.model.claim(pod.name, op, choose)
        self._check(settled, told, registered=pod.name in self.model.pods or not want)
        for claim in settled.claims:
            assert claim.attempt == self.model.runs[claim.run_id].tasks[claim.index].attempt
            assert claim.fencing_token > self.tokens.get((claim.run_id, claim.index), 0)
            self.tokens[claim.run_id, claim.index] = claim.fencing_token
        doing.last = (op, meant, ends, want) if told and (ends or told.claims) else None
        if not deaf:
            doing.heard += [claim for claim in settled.claims if claim not in doing.heard]

    async def _call(self, pod: LabPod, op: str, ends: Sequence[Ended], want: int) -> Settled:
        partition = self.lab.partition
        return await (partition.commit(op, pod.who, ends, want) if ends else partition.claim(op, pod.who, want))

    def _check(self, settled: Settled, told: Told | None, *, registered: bool) -> None:
        if told is None:
            assert not settled.registered
            self.met["UNREGISTERED"] += 1
            return
        self.met.update(told.words)
        assert (tuple(settled.words), tuple(map(ref_of, settled.claims))) == told
        assert settled.registered == registered

    async def repeat(self, number: int) -> None:
        doing = self.pods[number]
        if doing.last is None:
            return
        op, _, ends, want = doing.last
        with self.lab.unchanged():
            settled = await self._call(doing.lab_pod, op, ends, want)
        kept, told = self.model.replies[doing.lab_pod.name]
        assert kept == op
        assert (tuple(settled.words), tuple(map(ref_of, settled.claims))) == told
        new = [claim for claim in settled.claims if claim not in doing.heard and claim not in self.old]
        doing.heard += new
        self.met["repeated"] += 1
        self.met["repeated, unheard before"] += bool(new)

    async def release(self, number: int, picks: Sequence[int]) -> None:
        doing = self.pods[number]
        known = doing.heard + self.old[-1:]
        chosen = list({known[pick % len(known)].claim_id: known[pick % len(known)] for pick in picks if known}.values())
        words = self.model.release(map(ref_of, chosen))
        assert await doing.lab_pod.release(*chosen) == words
        self.met.update(f"release {word}" for word in words)
        self._forget(doing, chosen)

    async def beat(self, number: int, *, unheard: bool) -> None:
        doing = self.pods[number]
        pod = doing.lab_pod
        known = self.model.pods.get(pod.name)
        beat = self.model.heartbeat(pod.name, [ref_of(claim) for claim in doing.heard], unheard=unheard)
        pulse = pod.beat(*doing.heard, unheard_before_ms=ALL_UNHEARD if unheard else 1)
        assert pulse.standing == {None: "NEW", False: "GAP", True: "OK"}[known]
        assert (pulse.lost, pulse.stop) == ([ref.claim for ref in beat.lost], [ref.claim for ref in beat.stop])
        assert (pulse.revived, pulse.put_back) == (beat.revived, beat.put_back)
        self._forget(doing, [claim for claim in doing.heard if claim.claim_id in pulse.lost])
        self.met.update({pulse.standing: 1, "lost": len(beat.lost), "stop": len(beat.stop)})
        self.met.update({"revived": beat.revived, "put back": beat.put_back})

    async def lapse(self, number: int, keep: int) -> None:
        """The pod's deadline runs out, and its leases but the last `keep`."""
        pod = self.pods[number].lab_pod
        if pod.name in self.model.pods:
            kept = [ref.claim for ref in self._order(pod.name)][:keep]
            self.lab.bury(pod)
            for claim in kept:
                if claim in self.model.leases:
                    self.lab.client.set(self.lab.key(f"lease:{claim}"), pod.name, px=TTL_MS)
            self.model.lapse(pod.name, kept)

    async def reap(self, number: int) -> None:
        pod = self.pods[number].lab_pod
        order = {name: self._order(name) for name in self.model.pods}
        lost = sum(task.lost for run in self.model.runs.values() for task in run.tasks)
        told = self.model.reap(pod.name, lambda name: order[name])
        answer = await pod.reap(max_lost=MAX_LOST)
        assert (answer[:2] if answer else None) == told
        self.met["GRACE" if told is None else "reaped"] += 1
        self.met["charged"] += sum(task.lost for run in self.model.runs.values() for task in run.tasks) - lost
        self.met["failed for good"] += told[1] if told else 0

    async def die(self, number: int, keep: int) -> None:
        """The pod goes silent, and the other one judges it; it may come back, and does not know."""
        await self.beat(1 - number, unheard=False)
        await self.lapse(number, keep)
        await self.reap(1 - number)

    async def fire(self, number: int) -> None:
        self.lab.bring_forward("retry", "sleep")
        await self.pods[number].lab_pod.fire()
        for run in self.model.runs.values():
            for index in sorted(run.timers):
                self.met[f"fired {run.timers[index]}"] += 1
                run.fire(index)

    async def pass_on(self, number: int, pick: int) -> None:
        """Twice, as where two pods have the same slice in hand."""
        due = [(run_id, *due) for run_id, run in self.model.runs.items() for due in sorted(run.slices)]
        if due:
            run_id, index, start = due[pick % len(due)]
            for _ in range(2):
                word = self.model.pass_on(run_id, index, start)
                assert (await self.pods[number].lab_pod.pass_on(run_id, str(index), start, width=BUDGET))[0] == word
                self.met[f"slice {word}"] += 1

    async def cancel(self, pick: int) -> None:
        live = [run_id for run_id, run in self.model.runs.items() if run.state == "running"]
        if live:
            run_id = live[pick % len(live)]
            self.model.cancel(run_id)
            await self.lab.cancel(run_id)
            self.met["cancelled"] += 1

    async def sweep(self, pick: int) -> None:
        ended = [(run_id, run) for run_id, run in self.model.runs.items() if run.state != "running"]
        run_id, run = ended[pick % len(ended)]
        due = any(task.state in {"ready", "waiting"} for task in run.tasks) and run.sweep()
        size = len(run.tasks)
        word = await self.lab.partition.sweep(run_id, 0, None, self.lab.graphs[run_id].entries(0, size))
        assert word == ("OK" if due else "STALE")
        self.met[f"sweep {word}"] += 1

    async def finish(self) -> None:
        """Nothing goes wrong any more: every run ends, and soon."""
        for _ in range(100):
            if all(run.state != "running" for run in self.model.runs.values()):
                return
            for number in range(2):
                await self.beat(number, unheard=True)
                await self.fire(number)
                while any(run.slices for run in self.model.runs.values()):
                    await self.pass_on(number, 0)
                await self.commit(number, [(place, "succeeded") for place in range(len(self.pods[number].heard))], 64, deaf=False)
                await self.claim(number, 64, deaf=False)
            self.compare()
        raise AssertionError("the runs do not end")

    def _forget(self, doing: Doing, claims: Sequence[Claim]) -> None:
        self.old = (self.old + [claim for claim in claims if claim not in self.old])[-20:]
        doing.heard = [claim for claim in doing.heard if claim not in claims]

    def _order(self, pod: str) -> list[Ref]:
        """The pod's claims in the order in which a reaper looks at them."""
        refs = cast("list[bytes]", self.lab.client.zrange(self.lab.keys.claims(pod), 0, -1))
        words = [ref.decode().split(" ") for ref in refs]
        return [Ref(run, int(index), claim) for claim, run, index, *_ in words]
