"""One partition as a small model: runs, leases, pods and kept replies. Each method is one script, as `storage/lua/` has it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.run_model import RunModel


class Ref(NamedTuple):
    """A claim, as every call names it."""

    run: str
    task: int
    claim: str


class Told(NamedTuple):
    """What claim and commit answer: a word for each end, and the new claims."""

    words: tuple[str, ...] = ()
    claims: tuple[Ref, ...] = ()


class Beat(NamedTuple):
    """What a heartbeat answers."""

    lost: tuple[Ref, ...]
    stop: tuple[Ref, ...]
    revived: int
    put_back: int


Choose = Callable[["StoreModel"], Sequence[Ref]]
"""Which ready tasks a call takes is not the model's affair: given the store, answers the claims that were made."""


@dataclass
class StoreModel:
    max_lost: int
    runs: dict[str, RunModel] = field(default_factory=dict[str, RunModel])
    leases: set[str] = field(default_factory=set[str])
    """Claims whose lease key is there."""
    lists: dict[str, set[Ref]] = field(default_factory=dict[str, set[Ref]])
    """Pod → claims that the store says it holds."""
    pods: dict[str, bool] = field(default_factory=dict[str, bool])
    """Pod that beats → whether its deadline lies ahead."""
    replies: dict[str, tuple[str, Told]] = field(default_factory=dict[str, tuple[str, Told]])
    """Pod → its last operation, and the answer to it."""

    def copy(self) -> StoreModel:
        return type(self)(
            self.max_lost,
            {run: model.copy() for run, model in self.runs.items()},
            self.leases.copy(),
            {pod: refs.copy() for pod, refs in self.lists.items()},
            self.pods.copy(),
            self.replies.copy(),
        )

    def key(self) -> Hashable:
        """Equal for equal stores."""
        return (
            tuple(model.key() for model in self.runs.values()),
            frozenset(self.leases),
            frozenset((pod, frozenset(refs)) for pod, refs in self.lists.items() if refs),
            frozenset(self.pods.items()),
            frozenset(self.replies.items()),
        )

    def held(self, ref: Ref) -> bool:
        """The fence: whether the claim is its task's current one."""
        return self.runs[ref.run].holds(ref.task, ref.claim)

    # What pods call

    def claim(self, pod: str, op: str, choose: Choose) -> Told | None:
        """None: the pod is not known (any more), nothing is claimed."""
        first = self.replies.get(pod)
        if first and first[0] == op:
            return first[1]
        if pod not in self.pods:
            return None
        told = Told((), self._start(pod, choose(self)))
        if told.claims:
            self.replies[pod] = (op, told)
        return told

    def commit(self, pod: str, op: str, ends: Sequence[tuple[Ref, str]], choose: Choose = lambda _: ()) -> Told:
        first = self.replies.get(pod)
        if first and first[0] == op:
            return first[1]
        words: list[str] = []
        for ref, outcome in ends:
            words.append(self.runs[ref.run].commit(ref.task, ref.claim, outcome))
            if words[-1] != "STALE":
                self._drop(ref)
        told = Told(tuple(words), self._start(pod, choose(self)) if pod in self.pods else ())
        self.replies[pod] = (op, told)
        return told

    def release(self, refs: Iterable[Ref]) -> list[str]:
        return [self._give_back(ref) for ref in refs]

    def heartbeat(self, pod: str, listed: Sequence[Ref], *, unheard: bool = False) -> Beat:
        """`unheard`: claims that the pod does not list were made so long ago that it will never hear of them."""
        kept = [ref for ref in listed if self.held(ref)]
        stop = [ref for ref in kept if self.runs[ref.run].state != "running"]
        put_back: list[Ref] = []
        if unheard:
            put_back = sorted(ref for ref in self.lists.get(pod, ()) if ref not in listed)
            for ref in put_back:
                self._give_back(ref)
            self._forget_claims(pod, put_back)
        self.pods[pod] = True
        revived = [ref for ref in kept if ref.claim not in self.leases]
        self.leases.update(ref.claim for ref in kept)
        return Beat(tuple(ref for ref in listed if ref not in kept), tuple(stop), len(revived), len(put_back))

    def reap(self, judge: str, order: Callable[[str], Sequence[Ref]] | None = None) -> tuple[int, int] | None:
        """How many were put back and how many failed for good; None where the judge's own deadline has passed.

        `order`: the claims of a pod in the order in which they are looked at; it matters only where the loss of one ends its run.
        """
        if not self.pods.get(judge):
            return None
        put_back = failed = 0
        for pod in [pod for pod, ahead in self.pods.items() if not ahead]:
            dead = [ref for ref in (order(pod) if order else sorted(self.lists.get(pod, ()))) if not self._leased(ref)]
            self._forget_claims(pod, dead)
            for ref in dead:
                live = self.runs[ref.run].state == "running"
                self.runs[ref.run].lose(ref.task, self.max_lost)
                self._drop(ref)
                lost = live and self.runs[ref.run].tasks[ref.task].state == "failed"
                failed, put_back = failed + lost, put_back + (live and not lost)
            if self.lists.get(pod):
                self.pods[pod] = True
            else:
                self._bury(pod)
        return put_back, failed

    def pass_on(self, run: str, index: int, start: int) -> str:
        return self.runs[run].pass_on(index, start)

    def fire(self, run: str, index: int) -> None:
        self.runs[run].fire(index)

    def cancel(self, run: str) -> str:
        return self.runs[run].cancel()

    # What time does

    def lapse(self, pod: str, keep: Iterable[str] = ()) -> None:
        """The pod's deadline has passed, and its leases are gone, apart from those of the claims in `keep`."""
        if pod in self.pods:
            self.pods[pod] = False
        self.leases.difference_update({ref.claim for ref in self.lists.get(pod, ())} - set(keep))

    # Below the scripts

    def _start(self, pod: str, refs: Sequence[Ref]) -> tuple[Ref, ...]:
        for ref in refs:
            self.runs[ref.run].start(ref.task, ref.claim)
            self.leases.add(ref.claim)
            self.lists.setdefault(pod, set()).add(ref)
        return tuple(refs)

    def _give_back(self, ref: Ref) -> str:
        word = self.runs[ref.run].give_back(ref.task, ref.claim)
        if word == "OK":
            self._drop(ref)
        return word

    def _leased(self, ref: Ref) -> bool:
        return ref.claim in self.leases

    def _drop(self, ref: Ref) -> None:
        self.leases.discard(ref.claim)
        for refs in self.lists.values():
            refs.discard(ref)

    def _forget_claims(self, pod: str, gone: Sequence[Ref]) -> None:
        """What is repeated from now on answers without claims where some of them went back."""
        kept = self.replies.get(pod)
        if kept and set(kept[1].claims) & set(gone):
            self.replies[pod] = (kept[0], Told(kept[1].words))

    def _bury(self, pod: str) -> None:
        self.pods.pop(pod)
        self.lists.pop(pod, None)
