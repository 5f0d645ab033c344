"""The calls of all pods of a cluster, in order: numbered for fault plans, counted, and told as a story when something was wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peerflow.testing.faults import ANY, Fault, Point

KEPT = 20_000
UNCOUNTED = "inbox"
"""Not numbered under `*`, and never under way in the sense of `busy`: an idle pod always waits there."""
ROUTINE = ("inbox", "heartbeat")
"""Left out of stories unless they met a fault."""


@dataclass(slots=True)
class Call:
    """One call of one pod."""

    pod: str
    name: str
    points: tuple[Point, ...]
    """All points by which a plan may mean it, the narrowest first."""
    at_seconds: float
    op: str
    fault: Fault | None = None
    did: bool = False
    """The server changed something by it, or told a pod what it did not know; False where a pod only looked."""
    said: str = "…"
    """The answer's first word or words, or the error that the caller saw; `…` while there is none."""

    def __str__(self) -> str:
        met = f"  << {self.fault}" if self.fault else ""
        return f"{self.at_seconds * 1000:9.1f} ms  {self.points[0]!s:<24} {self.said}{met}"


ANSWERED = {"claim": 4, "commit": 5}
"""Parts of an answer that a repeat gives again; what follows says how much is left in the queue by now."""


@dataclass(slots=True)
class Trace:
    """Written by all pods' threads; everything happens under one lock."""

    calls: deque[Call] = field(default_factory=lambda: deque[Call](maxlen=KEPT))
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """(pod or `*`, call or `*`) → how many there were."""
    seen: Counter[str] = field(default_factory=Counter[str])
    """What happened how often, by the answers: see `_notice`."""
    unequal: list[str] = field(default_factory=list[str])
    """Calls that were repeated with their operation id and answered otherwise than the first time: each is a violation of S17."""
    cancelled: set[str] = field(default_factory=set[str])
    """Runs that clients have asked to cancel."""
    _busy: Counter[str] = field(default_factory=Counter[str])
    _applied: dict[str, tuple[str, Any]] = field(default_factory=dict[str, tuple[str, Any]])
    """Operation id → the pod that made it, and the first answer."""
    _emptied: set[str] = field(default_factory=set[str])
    """Pods whose claims may have gone back without their hearing of it, by their own heartbeat or another's reaper: an answer that is
    repeated has none then."""
    _excusable: dict[str, str] = field(default_factory=dict[str, str])
    """Of `unequal` those that are no violations if their pod was emptied → the pod. Whoever emptied it may be heard a moment later."""
    _passed: dict[str, str] = field(default_factory=dict[str, str])
    """Run and task → the pod that told the first slice of its successors."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.monotonic)

    def begin(self, pod: str, name: str, args: Sequence[Any]) -> Call:
        """Numbers a call."""
        with self._lock:
            points: list[Point] = []
            for key in ((pod, name), (ANY, name)) if name == UNCOUNTED else ((pod, name), (ANY, name), (pod, ANY), (ANY, ANY)):
                self.numbers[key] += 1
                points.append(Point(*key, self.numbers[key]))
            op = str(args[0]) if name in {"claim", "commit"} else ""
            call = Call(pod, name, tuple(points), time.monotonic() - self._began, op)
            self.calls.append(call)
            self._busy[pod] += name != UNCOUNTED
            return call

    def applied(self, call: Call, args: Sequence[Any], answer: Any) -> None:
        """The server has answered, whether the pod hears it or not."""
        with self._lock:
            call.did = _did(call.name, answer)
            self._notice(call, args, answer)

    def end(self, call: Call, said: str) -> None:
        """The caller has its answer or its error."""
        with self._lock:
            call.said = said
            self._busy[call.pod] -= call.name != UNCOUNTED

    def busy(self, pod: str) -> int:
        """Calls of a pod that are under way, its waiting for messages apart."""
        return self._busy[pod]

    def reset_numbers(self) -> None:
        """Counts calls from 1 again, for the next plan."""
        with self._lock:
            self.numbers.clear()
            self.calls.clear()
            self.unequal.clear()

    def forget_answers(self, pod: str | None = None) -> None:
        """The server does not know its answers (to one pod) any more: it keeps them for ten minutes, and no dead pod's."""
        self._applied = {} if pod is None else {op: told for op, told in self._applied.items() if told[0] != pod}

    def story(self, last: int = 60) -> str:
        """The latest calls, one a line."""
        with self._lock:
            told = [str(call) for call in self.calls if call.name not in ROUTINE or call.fault]
        return "\n".join(told[-last:])

    def _notice(self, call: Call, args: Sequence[Any], answer: Any) -> None:
        """Counts what is worth having happened at least once in a suite."""
        words: Counter[str] = Counter()
        if call.name == "commit":
            words["zombie refused"] = answer[1].count("STALE")
            ended = [args[at : at + 7] for at in range(6, len(args), 7)]
            late = [str(end[0]).split(" ")[1] for end, word in zip(ended, answer[1], strict=False) if word == "TERMINAL"]
            for end, word in zip(ended, answer[1], strict=False):
                if word == "OK" and end[5]:
                    self._passed.setdefault(" ".join(str(end[0]).split(" ")[1:3]), call.pod)
            words["cancel beat commit"] = sum(run in self.cancelled for run in late)
            words["run ended before a commit"] = len(late)
        elif call.name == "heartbeat":
            words["lease revived"], words["unheard claim put back"] = answer[3], answer[4]
            words["lease found lost"], words["clock jump noticed"] = len(answer[1]), answer[0] == "GAP"
            if answer[0] == "NEW":
                self.forget_answers(call.pod)
            if answer[4]:
                self._empty({call.pod})
        elif call.name == "reap" and answer[0] == "OK":
            words["orphan taken over"], words["lost for good"] = answer[1], answer[2]
            if answer[1] or answer[2]:
                # Whose they were it does not say; its own they were not.
                self._empty({pod for pod, _ in self._applied.values()} - {call.pod})
        elif call.name == "pass_on" and answer[0] == "OK":
            before = self._passed.setdefault(f"{args[0]} {args[1]}", call.pod)
            words["slice resumed by another pod"] = before != call.pod
        elif call.name == "create_run" and answer[0] == "EXISTS":
            words["post repeated"] = 1
        if call.op:
            words[f"{call.name} repeated"] = call.op in self._applied
            self._compare(call, answer)
        self.seen += Counter({word: int(count) for word, count in words.items() if count})

    def _compare(self, call: Call, answer: Any) -> None:
        """A repeated call is answered as the first time, but for claims that have gone back since; a pod that was buried begins anew.

        A claim that found nothing has changed nothing, and may find something when it is repeated.
        """
        if call.name == "claim" and (answer[0] != "OK" or not answer[2]) and call.op not in self._applied:
            return
        _, first = self._applied.setdefault(call.op, (call.pod, answer))
        parts = ANSWERED.get(call.name)
        if answer[0] == "UNREGISTERED" or answer[:parts] == first[:parts]:
            return
        excusable = answer[1] == first[1] and not answer[2]
        if excusable and call.pod in self._emptied:
            return
        text = f"S17: {call.points[0]} repeats a call that was answered {first}; now the answer is {answer}"
        self.unequal.append(text)
        if excusable:
            self._excusable[text] = call.pod

    def _empty(self, pods: set[str]) -> None:
        self._emptied |= pods
        self.unequal = [text for text in self.unequal if self._excusable.get(text) not in pods]


def _did(name: str, answer: Any) -> bool:
    if name in {"claim", "reap", "fire_timers", "heartbeat"}:
        found = {"claim": 2, "reap": 1, "fire_timers": 3, "heartbeat": 1}[name]
        return len(answer) > found and bool(answer[found])
    return name != UNCOUNTED
