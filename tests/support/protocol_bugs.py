"""Protocols with a planted bug, each a small change of the model. The search must find what is wrong with every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from engine.graph import Graph
from tests.support.protocol import Step, World
from tests.support.run_model import RunModel
from tests.support.store_model import Beat, Choose, Ref, StoreModel, Told


class NoFence(RunModel):
    """A commit is accepted from whoever claimed the task once."""

    def commit(self, index: int, claim: str, outcome: str) -> str:
        return super().commit(index, self.tasks[index].claim or claim, outcome)


class ForgetsOperations(StoreModel):
    """A repeated call is a new call."""

    def claim(self, pod: str, op: str, choose: Choose) -> Told | None:
        self.replies.pop(pod, None)
        return super().claim(pod, op, choose)


class ForgetsOperationsOfTheDead(StoreModel):
    """The reaper throws away the kept answer of a pod that it takes for dead; the pod comes back, and repeats its call."""

    def _bury(self, pod: str) -> None:
        super()._bury(pod)
        self.replies.pop(pod, None)


class ReaperIgnoresLeases(StoreModel):
    """Every other pod is dead to the reaper."""

    def reap(self, judge: str, order: Callable[[str], Sequence[Ref]] | None = None) -> tuple[int, int] | None:
        for pod in self.pods.keys() - {judge}:
            self.lapse(pod)
        return super().reap(judge, order)


class CountsEdges(RunModel):
    """Predecessors are counted, whoever tells them, and a slice that two pods have in hand is passed on twice."""

    def pass_on(self, index: int, start: int) -> str:
        due = (index, start) in self.slices
        self.slices.add((index, start))
        word = super().pass_on(index, start)
        return word if due else "STALE"


class ForgetsSlices(RunModel):
    """A commit tells the successors that one call can tell; nobody tells the others."""

    def _end(self, index: int, state: str, budget: int) -> None:
        super()._end(index, state, budget)
        self.slices.discard((index, budget))


class CommitsAfterCancel(RunModel):
    """A commit does not look at the run's state."""

    def commit(self, index: int, claim: str, outcome: str) -> str:
        cancelled = self.state == "cancelled"
        self.state = "running" if cancelled else self.state
        word = super().commit(index, claim, outcome)
        self.state = "cancelled" if cancelled else self.state
        return word


class ChargesWhatWasNeverHeard(StoreModel):
    """A claim whose reply was lost is put back like a lost attempt."""

    def heartbeat(self, pod: str, listed: Sequence[Ref], *, unheard: bool = False) -> Beat:
        for ref in self.lists.get(pod, set()) - set(listed):
            self.runs[ref.run].tasks[ref.task] = replace(self.runs[ref.run].tasks[ref.task], lost=1)
        return super().heartbeat(pod, listed, unheard=unheard)


class RetryTwice(RunModel):
    """A timer stays after it has fired."""

    def fire(self, index: int) -> None:
        kind = self.timers[index]
        super().fire(index)
        self.timers[index] = kind


class PopsFirst(World):
    """A claim is two calls: one takes the task from the queue, the next one leases it."""

    def actions(self) -> Iterator[Step]:
        for step in super().actions():
            if ", gets task " in step.label and "claims" in step.label and not step.fault:
                popped = self.copy()
                popped.run.queue.remove(int(step.label.rsplit(" ", 1)[1]))
                yield Step(step.label.replace("claims", "pops"), popped, fault=False, wrong="")
            else:
                yield step


class NoPutBack(StoreModel):
    """Heartbeats do not look for claims whose reply was lost, and the reaper looks only at pods that are gone."""

    def heartbeat(self, pod: str, listed: Sequence[Ref], *, unheard: bool = False) -> Beat:
        del unheard
        return super().heartbeat(pod, listed)

    def claim(self, pod: str, op: str, choose: Choose) -> Told | None:
        first = self.replies.get(pod)
        return Told() if first and first[0] == op else super().claim(pod, op, choose)


Begin = Callable[[Graph], World]

PLANTED: dict[str, tuple[str, Begin]] = {
    "the fence is not checked": ("S2", lambda graph: World.start(graph, run=NoFence)),
    "operation ids are not remembered": ("S17", lambda graph: World.start(graph, ForgetsOperations)),
    "operation ids of the dead are not remembered": ("S17", lambda graph: World.start(graph, ForgetsOperationsOfTheDead)),
    "the reaper ignores leases": ("S8", lambda graph: World.start(graph, ReaperIgnoresLeases)),
    "predecessors are counted by number": ("S4", lambda graph: World.start(graph, run=CountsEdges)),
    "slices are forgotten": ("S5", lambda graph: World.start(graph, run=ForgetsSlices)),
    "a commit does not see that the run was cancelled": ("S9", lambda graph: World.start(graph, run=CommitsAfterCancel)),
    "what was never heard of is charged": ("S6", lambda graph: World.start(graph, ChargesWhatWasNeverHeard)),
    "a timer fires twice": ("S5", lambda graph: World.start(graph, run=RetryTwice)),
    "a claim pops before it leases": ("S5", PopsFirst.start),
    "claims that no pod heard of stay": ("L1", lambda graph: World.start(graph, NoPutBack, lapse=0, crash=0, cancel=0, failed=0, retry=0)),
}
"""Bug → the invariant that falls first, and a world with the bug."""
