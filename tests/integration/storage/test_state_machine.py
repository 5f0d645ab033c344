"""Whatever order things happen in, the store is what a small model says: states, attempts, counters, queue, leases, timers, events."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from storage.recount import Survey, find_repairs
from tests.support.lab import Lab
from tests.support.lab_pod import LabPod
from tests.support.run_model import RunModel
from tests.support.servers import EMBEDDED, Server
from tests.support.walk import TTL_MS, Walk

KEEP = st.sampled_from([0, 0, 1])
PODS, PICK, WANT, DEAF = st.integers(0, 1), st.integers(0, 5), st.integers(0, 3), st.sampled_from([False, False, True])
OUTCOMES = st.sampled_from(["succeeded", "succeeded", "failed", "retry", "sleep"])
ENDS = st.lists(st.tuples(PICK, OUTCOMES), min_size=1, max_size=3)
SOMETIMES = {
    "OK", "STALE", "TERMINAL", "slice OK", "slice STALE", "slice TERMINAL", "release OK", "release STALE", "sweep OK", "sweep STALE",
    "NEW", "GAP", "UNREGISTERED", "GRACE", "lost", "stop", "revived", "put back", "repeated", "repeated, unheard before", "charged",
    "failed for good", "fired retry", "fired sleep", "cancelled",
}  # fmt: skip


@dataclass
class Place:
    """Where the examples of one test happen, one after the other."""

    runner: asyncio.Runner
    lab: Lab
    pods: list[LabPod]
    met: Counter[str] = field(default_factory=Counter[str])
    examples: int = 0
    steps: int = 0


class Machine(RuleBasedStateMachine):
    place: Place
    walk_class: type[Walk] = Walk

    def __init__(self) -> None:
        super().__init__()
        self.walk = self.walk_class(self.place.lab, self.place.pods)
        self.place.examples += 1
        self.sound = True
        """Whether no step has failed: after one that has, the end of the runs proves nothing."""

    def do(self, step: Coroutine[Any, Any, None]) -> None:
        self.place.steps += 1
        self.sound = False
        self.place.runner.run(step)
        self.sound = True

    @initialize(size=st.integers(2, 6), edges=st.integers(0, 2**15 - 1), allowed=st.integers(0, 63), stop=st.booleans())
    def begin(self, size: int, edges: int, allowed: int, stop: bool) -> None:
        self.do(self.walk.create(size, edges, allowed, stop=stop))

    @precondition(lambda self: self.walk.live < 3 and len(self.walk.model.runs) < 6)
    @rule(size=st.integers(1, 6), edges=st.integers(0, 2**15 - 1), allowed=st.integers(0, 63), stop=st.booleans())
    def create(self, size: int, edges: int, allowed: int, stop: bool) -> None:
        self.do(self.walk.create(size, edges, allowed, stop=stop))

    @rule(pod=PODS, want=st.integers(1, 3), deaf=DEAF)
    def claim(self, pod: int, want: int, deaf: bool) -> None:
        self.do(self.walk.claim(pod, want, deaf=deaf))

    @precondition(lambda self: any(pod.heard for pod in self.walk.pods))
    @rule(pod=PODS, ends=ENDS, want=WANT, deaf=DEAF)
    def commit(self, pod: int, ends: list[tuple[int, str]], want: int, deaf: bool) -> None:
        self.do(self.walk.commit(pod, ends, want, deaf=deaf))

    @precondition(lambda self: any(pod.heard for pod in self.walk.pods))
    @rule(pod=PODS, pick=PICK, want=WANT)
    def succeed(self, pod: int, pick: int, want: int) -> None:
        self.do(self.walk.commit(pod, [(pick, "succeeded")], want, deaf=False))

    @precondition(lambda self: any(pod.last for pod in self.walk.pods))
    @rule(pod=PODS)
    def repeat(self, pod: int) -> None:
        self.do(self.walk.repeat(pod))

    @precondition(lambda self: any(pod.heard for pod in self.walk.pods))
    @rule(pod=PODS, picks=st.lists(PICK, min_size=1, max_size=2))
    def release(self, pod: int, picks: list[int]) -> None:
        self.do(self.walk.release(pod, picks))

    @rule(pod=PODS, unheard=st.booleans())
    def beat(self, pod: int, unheard: bool) -> None:
        self.do(self.walk.beat(pod, unheard=unheard))

    @precondition(lambda self: any(self.walk.model.lists.values()))
    @rule(pod=PODS, keep=KEEP)
    def die(self, pod: int, keep: int) -> None:
        self.do(self.walk.die(pod, keep))

    @precondition(lambda self: any(self.walk.model.lists.values()))
    @rule(pod=PODS, keep=KEEP)
    def lapse(self, pod: int, keep: int) -> None:
        self.do(self.walk.lapse(pod, keep))

    @precondition(lambda self: not all(self.walk.model.pods.values()))
    @rule(pod=PODS)
    def reap(self, pod: int) -> None:
        self.do(self.walk.reap(pod))

    @precondition(lambda self: any(run.timers for run in self.walk.model.runs.values()))
    @rule(pod=PODS)
    def fire(self, pod: int) -> None:
        self.do(self.walk.fire(pod))

    @precondition(lambda self: any(run.slices for run in self.walk.model.runs.values()))
    @rule(pod=PODS, pick=PICK)
    def pass_on(self, pod: int, pick: int) -> None:
        self.do(self.walk.pass_on(pod, pick))

    @precondition(lambda self: self.walk.live > 1)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.do(self.walk.cancel(pick))

    @precondition(lambda self: any(run.state != "running" and not run.swept for run in self.walk.model.runs.values()))
    @rule(pick=PICK)
    def sweep(self, pick: int) -> None:
        self.do(self.walk.sweep(pick))

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        self.sound = False
        self.walk.compare()
        self.sound = True

    def teardown(self) -> None:
        try:
            if self.sound:
                self.do(self.walk.finish())
        finally:
            self.place.met.update(self.walk.met)
            self.place.lab.clear()


def run_machine(place: Place, *, examples: int, long: bool = False, walk: type[Walk] = Walk) -> None:
    """Runs examples, and prints what they have met. Fails with the shortest failing sequence of steps, as a program."""
    place.lab.narrates = False
    place.lab.clear()
    run_state_machine_as_test(
        type("Here", (Machine,), {"place": place, "walk_class": walk}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=100 if long else 50,
            deadline=None,
            derandomize=not long,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
    print(f"{place.examples} examples, {place.steps} steps: {dict(place.met)}")  # noqa: T201


@pytest.fixture
def place(server: Server, namespace: str) -> Generator[Place]:
    with asyncio.Runner() as runner:
        lab = runner.run(Lab.open(server.url, namespace))
        yield Place(runner, lab, [lab.pod(name, ttl_ms=TTL_MS) for name in ("p1", "p2")])
        runner.run(lab.close())


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_two_pods_agree_with_the_model_at_every_step(place: Place, server: Server) -> None:
    """`HYPOTHESIS_PROFILE=long` takes 20,000 examples of 100 steps, drawn anew each time, instead of the same few hundred of 50."""
    long = os.environ.get("HYPOTHESIS_PROFILE") == "long"
    examples = 20_000 if long else 640
    run_machine(place, examples=examples if server.name == EMBEDDED else examples // 20, long=long)
    assert place.met.keys() - {word for word, count in place.met.items() if not count} >= SOMETIMES or server.name != EMBEDDED


class AuditedWalk(Walk):
    """Looks at every run after each step."""

    def compare(self) -> None:
        super().compare()
        for run_id, run in self.model.runs.items():
            words = " ".join(self.lab.graphs[run_id].words)
            with self.lab.unchanged():
                answer = self.lab.call("restore", run_id, TTL_MS, 0, words)
            if answer[0] == b"TERMINAL":
                assert run.state != "running"
            else:
                self._look(run_id, run, answer)

    def _look(self, run_id: str, run: RunModel, answer: list[Any]) -> None:
        _, states, edges, events, put_back, counted = answer
        assert put_back == []
        survey = Survey(states.decode(), dict(zip(edges[::2], edges[1::2], strict=True)), counted, events, still=True)
        found = find_repairs(self.lab.graphs[run_id], survey)
        assert not found or run.slices, f"{survey} of {run}"
        if found:
            with self.lab.unchanged():
                repaired = self.lab.call("repair", run_id, events, found.recount, found.dead_end, *found.free, *found.fenced)
            assert repaired[0] == b"BUSY"
        self.met["looks"] += 1


@pytest.mark.slow
def test_an_audit_after_each_step_finds_nothing_to_repair(place: Place, server: Server) -> None:
    """A store that forgets nothing needs no repair, whatever pods do, and at whatever moment an audit looks."""
    run_machine(place, examples=60 if server.name == EMBEDDED else 6, walk=AuditedWalk)
    assert place.met["looks"] > place.steps / 2
    assert place.runner.run(place.lab.store.limbo_repairs()) == 0
