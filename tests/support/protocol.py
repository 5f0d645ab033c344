"""The whole protocol as a small model: one run, two pods, and what can go wrong, each a bounded number of times.

A world is the store (`StoreModel`) and what each pod knows; `World.actions` gives every world that one step leads to. Claim ids say task
and number ("1.2" is the second claim of task 1), so equal histories have equal names.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from engine.graph import Graph
from tests.support.run_model import RunModel
from tests.support.store_model import Choose, Ref, StoreModel, Told

RUN = "run"
MAX_LOST = 1
EDGES = 1
"""Successors that a commit tells; the rest follow in slices."""
FAULTS: dict[str, int] = {"lapse": 1, "crash": 1, "lost reply": 1, "cancel": 1, "failed": 1, "retry": 1, "released": 0}
"""How often each thing happens at most in one history."""


Ends = tuple[tuple[Ref, str], ...] | None
"""Ended attempts and their outcomes, as a commit has them; None for a claim."""


class Call(NamedTuple):
    """A call whose reply the pod has not got: it repeats it under the same operation id."""

    ends: Ends
    want: bool
    told: Told
    """What the lost reply said."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What a pod knows."""

    alive: bool = True
    holds: frozenset[Ref] = frozenset()
    call: Call | None = None
    slices: frozenset[tuple[int, int]] = frozenset()
    """Slices that the timers gave it."""


class Step(NamedTuple):
    label: str
    """"p1 claims, gets task 0": unique among the steps from one world."""
    world: World
    fault: bool
    """It need not happen: liveness may not count on it."""
    wrong: str
    """What this step itself violates, or nothing."""

    @property
    def kind(self) -> str:
        """The label without names and numbers."""
        return " ".join(word.strip(",;") for word in self.label.split() if word[0].isalpha() and not word.startswith(("p1", "p2")))


@dataclass
class World:
    store: StoreModel
    pods: dict[str, Pod]
    left: dict[str, int]
    """Fault → how often it may still happen."""
    claims: list[int] = field(default_factory=list[int])
    """Task → claims made of it so far."""
    retried: list[int] = field(default_factory=list[int])
    """Task → attempts that ended in a retry."""
    capacity: int = 2
    """Tasks that a pod runs at once."""

    @classmethod
    def start(
        cls, graph: Graph, store: type[StoreModel] = StoreModel, run: type[RunModel] = RunModel, *, capacity: int = 2, **faults: int
    ) -> World:
        zeros = [0] * len(graph.tasks)
        pods = ("p1", "p2")
        begun = store(MAX_LOST, {RUN: run(graph, EDGES)}, lists={pod: set() for pod in pods}, pods=dict.fromkeys(pods, True))
        return cls(begun, {pod: Pod() for pod in pods}, FAULTS | faults, zeros, zeros.copy(), capacity)

    @property
    def run(self) -> RunModel:
        return self.store.runs[RUN]

    def copy(self) -> World:
        return type(self)(self.store.copy(), self.pods.copy(), self.left.copy(), self.claims.copy(), self.retried.copy(), self.capacity)

    def key(self) -> Hashable:
        """Equal for worlds that differ in nothing but the pods' names."""
        store = self.store
        pods = [
            (pod, frozenset(store.lists.get(name, ())), store.pods.get(name), store.replies.get(name)) for name, pod in self.pods.items()
        ]
        return (
            self.run.key(), frozenset(store.leases), tuple(sorted(pods, key=hash)), tuple(self.left.values()), tuple(self.claims),
            tuple(self.retried),
        )  # fmt: skip

    def actions(self) -> Iterator[Step]:
        for name, pod in self.pods.items():
            if pod.alive:
                yield from self._calls(name, pod) if pod.call is None else self._repeats(name, pod.call)
                yield from self._services(name, pod)
                if self.left["crash"]:
                    yield self._next(f"{name} crashes", "crash", name, Pod(alive=False))
            if self.store.pods.get(name) and (self.left["lapse"] or not pod.alive):
                after = self._next(f"{name}'s deadline and leases run out", "lapse" if pod.alive else None)
                after.world.store.lapse(name)
                yield after
        if self.left["cancel"]:
            yield self._cancels()

    # What a pod does with tasks

    def _calls(self, name: str, pod: Pod) -> Iterator[Step]:
        if len(pod.holds) < self.capacity:
            yield from self._claims(name, None, sorted(self.run.claimable), "claims")
        for ref in sorted(pod.holds):
            for outcome in ("succeeded", "failed", "retry"):
                if outcome == "succeeded" or self.left[outcome]:
                    after = self.copy()
                    after.store.commit(name, "look", ((ref, outcome),))
                    yield from self._claims(name, ((ref, outcome),), [None, *sorted(after.run.claimable)], f"commits {outcome}")
            if self.left["released"]:
                after = self._next(f"{name} releases {ref.claim}", "released", name, replace(pod, holds=pod.holds - {ref}))
                after.world.store.release([ref])
                yield after

    def _claims(self, name: str, ends: Ends, indices: Sequence[int | None], doing: str) -> Iterator[Step]:
        what = f"{name} {doing}" + "".join(f" {ref.claim}" for ref, _ in ends or ())
        outcome = ends[0][1] if ends and ends[0][1] != "succeeded" else None
        for index in indices:
            label = what if index is None else f"{what}, gets task {index}"
            after = self._next(label, outcome)
            told, wrong = after.world.make(name, ends, index)
            if told is None:
                continue
            if self.left["lost reply"]:
                lost = after.world.copy()
                lost.left["lost reply"] -= 1
                lost.pods[name] = replace(lost.pods[name], call=Call(ends, index is not None, told))
                yield Step(f"{label}; the reply is lost", lost, fault=True, wrong=wrong)
            after.world.receive(name, ends, told)
            yield after._replace(wrong=wrong)

    def make(self, name: str, ends: Ends, index: int | None) -> tuple[Told | None, str]:
        """Calls the script, claim or commit. Answers what it answers (None: the pod is not known), and what is wrong with that."""
        choose: Choose = (lambda _: ()) if index is None else lambda _: (self._claim_of(index),)
        if ends is None:
            return self.store.claim(name, "op", choose), ""
        before, kept = self.run, self.store.replies.get(name)
        current = [before.tasks[ref.task].claim for ref, _ in ends]
        told = self.store.commit(name, "op", ends, choose)
        for (ref, outcome), word, claim in zip(ends, told.words, current, strict=True):
            if kept is None and (word != "STALE") != (claim == ref.claim):
                return told, f"S2: a commit by claim {ref.claim} answers {word} where the current claim is {claim}"
            if kept is None:
                self.retried[ref.task] += outcome == "retry" and word == "OK"
        return told, ""

    def receive(self, name: str, ends: Ends, told: Told) -> None:
        """The pod has the reply: nobody will ask for it again."""
        pod = self.pods[name]
        self.pods[name] = replace(pod, holds=(pod.holds - {ref for ref, _ in ends or ()}) | frozenset(told.claims), call=None)
        self.store.replies.pop(name, None)

    def _claim_of(self, index: int) -> Ref:
        self.claims[index] += 1
        return Ref(RUN, index, f"{index}.{self.claims[index]}")

    def _repeats(self, name: str, call: Call) -> Iterator[Step]:
        before = self.store.key()
        for index in [None, *sorted(self.run.claimable)] if call.want else [None]:
            after = self._next(f"{name} repeats its call" + ("" if index is None else f", gets task {index}"), None)
            told, wrong = after.world.make(name, call.ends, index)
            if told is None:
                return
            if told.words != call.told.words:
                wrong = f"S17: the call answered {call.told.words}, its repetition {told.words}"
            elif call.told.claims and not set(told.claims) <= set(call.told.claims):
                wrong = "S17: a repeated call claims again"
            elif (call.told.words or call.told.claims) and after.world.store.key() != before:
                wrong = "S17: a repeated call changes the store"
            after.world.receive(name, call.ends, told)
            yield after._replace(wrong=wrong)

    # What a pod does beside that

    def _services(self, name: str, pod: Pod) -> Iterator[Step]:
        after = self._next(f"{name} beats", None)
        beat = after.world.store.heartbeat(name, sorted(pod.holds), unheard=True)
        after.world.pods[name] = replace(pod, holds=pod.holds - set(beat.lost))
        yield after
        if any(refs for other, refs in self.store.lists.items() if other != name) or not all(self.store.pods.values()):
            after = self._next(f"{name} reaps", None)
            after.world.store.reap(name)
            lists = after.world.store.lists
            before = self.store.lists
            robbed = [pod for pod, ahead in self.store.pods.items() if ahead and before.get(pod, set()) != lists.get(pod, set())]
            yield after._replace(wrong=f"S8: {robbed[0]} lives, and its task is taken" if robbed else "")
        for index in sorted(self.run.timers):
            after = self._next(f"{name} fires the timer of task {index}", None)
            after.world.store.fire(RUN, index)
            yield after
        for due in sorted(self.run.slices - pod.slices):
            yield self._next(f"{name} is given slice {due}", None, name, replace(pod, slices=pod.slices | {due}))
        for due in sorted(pod.slices):
            after = self._next(f"{name} passes slice {due} on", None, name, replace(pod, slices=pod.slices - {due}))
            after.world.store.pass_on(RUN, *due)
            yield after

    def _cancels(self) -> Step:
        before = self.run.state
        after = self._next("a client cancels", "cancel")
        said = after.world.store.cancel(RUN)
        right = "cancelled" if before == "running" else before
        return after._replace(wrong="" if said == right else f"S9: a run that is {before} answers cancel with {said}")

    def _next(self, label: str, fault: str | None, name: str = "", pod: Pod | None = None) -> Step:
        world = self.copy()
        if fault:
            world.left[fault] -= 1
        if pod:
            world.pods[name] = pod
        return Step(label, world, bool(fault), "")

    def describe(self) -> str:
        """One line for a counterexample."""
        run = self.run
        tasks = " ".join(f"{index}:{task.state}" + (f"({task.claim})" if task.claim else "") for index, task in enumerate(run.tasks))
        pods = " ".join(f"{name}[{' '.join(sorted(ref.claim for ref in pod.holds))}]" for name, pod in self.pods.items() if pod.alive)
        return f"run {run.state}, {tasks}, queue {sorted(run.queue)}, leases {sorted(self.store.leases)}, {pods}"
