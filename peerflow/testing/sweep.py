"""Runs a workflow again and again, and at each call that its pods make kills or freezes one of them: is the outcome always the same?

def test_an_order_is_charged_once():
    crash_sweep(ORDER, tasks=[shop], reset=provider.clear, effects=lambda: provider.charges)
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from engine.errors import StorageError
from engine.states import TaskState
from peerflow.testing.checker import check as check_invariants
from peerflow.testing.clients import Clients, post
from peerflow.testing.cluster import Cluster
from peerflow.testing.faults import ANY, Fault, FaultKind, FaultPlan, Point
from peerflow.testing.functions import Tasks
from peerflow.testing.leaks import leaked_keys
from peerflow.testing.records import RunRecord
from peerflow.testing.report import Finding, SweepReport, told

SWEPT = (FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER, FaultKind.PAUSE_BEFORE, FaultKind.PAUSE_AFTER)
MOST_FINDINGS = 5
"""A sweep that has found so much has found enough."""
LOOKS = ("claim", "heartbeat", "reap")
PAUSE_TTLS = 2.5
RETENTION_SECONDS = 3600.0

Outputs = Callable[[RunRecord], object]


def outputs_of(record: RunRecord) -> dict[str, tuple[TaskState, object]]:
    """Task id → state and result: what must be the same however a run was disturbed."""
    return {task.id: (task.state, task.result) for task in record.tasks}


def is_swept(point: Point) -> bool:
    """The points of a sweep count calls by name, over all pods."""
    return point.pod == ANY and point.call != ANY


def crash_sweep(
    workflow: Mapping[str, Any],
    tasks: Tasks = (),
    *,
    pods: int = 2,
    kinds: Sequence[FaultKind] = SWEPT,
    calls: Iterable[str] | None = None,
    reset: Callable[[], object] | None = None,
    effects: Callable[[], Iterable[object]] | None = None,
    outputs: Outputs = outputs_of,
    check: Callable[[RunRecord], object] | None = None,
    clients: Clients | None = None,
    under: str = "",
    looks: int = 0,
    only: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    within_seconds: float = 30.0,
    **options: Any,
) -> SweepReport:
    """Runs the workflow undisturbed to number the calls by which its pods change something, then once for each of them and each kind.

    `reset` is called before each run, to clear the outside world of the tests; after the run `effects` tells what has happened there, and
    nothing may be told twice. `outputs` is what must equal the undisturbed run; `check` may raise AssertionError for what else must hold.
    `clients` does what one client that posts the workflow would not: posts it several times, cancels it (peerflow.testing.clients).
    `under` is a plan that every run meets, the measured one too: then the calls are met by which pods take over from a dead one.
    `calls` are names of scripts, all where it is None. Of claims, heartbeats and reaps that only look, the first `looks` are met as well.
    `limit` takes so many points at random, by `seed`. `only` repeats one plan of a report. `options` are those of Cluster.
    Raises AssertionError that tells each violation with its plan, the run's events and the pods' calls.
    """
    if pods < 2:
        raise ValueError("a sweep needs at least 2 pods: one that dies, and one that takes over")

    def one_client(cluster: Cluster, key: str) -> str:
        return post(cluster, workflow, key)

    sweep = _Sweep(
        clients or one_client, tasks, pods, reset, effects, outputs, check, FaultPlan.parse(under), looks, within_seconds, options
    )
    report = sweep.report
    started = time.monotonic()
    try:
        sweep.measure()
        plans = [FaultPlan.parse(only)] if only else sweep.plans(kinds, None if calls is None else set(calls))
        if limit is not None and len(plans) > limit:
            plans = random.Random(seed).sample(plans, limit)
        for plan in plans:
            sweep.disturb(plan)
            if len(report.findings) >= MOST_FINDINGS:
                break
        sweep.look_for_leaks()
    finally:
        sweep.close()
        report.seconds = time.monotonic() - started
    if report.findings:
        stories = "\n\n".join(str(finding) for finding in report.findings)
        raise AssertionError(f"{report}\nseed {seed}; repeat one of them with crash_sweep(…, only='<its first line>')\n\n{stories}")
    return report


class _Sweep:
    """A cluster for many runs, made anew after each violation."""

    def __init__(
        self,
        clients: Clients,
        tasks: Tasks,
        pods: int,
        reset: Callable[[], object] | None,
        effects: Callable[[], Iterable[object]] | None,
        outputs: Outputs,
        check: Callable[[RunRecord], object] | None,
        under: FaultPlan,
        looks: int,
        within_seconds: float,
        options: dict[str, Any],
    ) -> None:
        self._clients, self._tasks, self._pods = clients, list(tasks), pods
        self._under, self._looks = under, looks
        self._reset, self._effects, self._outputs, self._check = reset, effects, outputs, check
        self._within_seconds, self._options = within_seconds, options
        self._options.setdefault("retention_seconds", RETENTION_SECONDS)
        self.report = SweepReport()
        self._expected: object = None
        self._cluster: Cluster | None = None
        self._runs: list[str] = []
        self._made: list[Point] = []

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._pods, self._tasks, **self._options)
        return self._cluster

    def measure(self) -> None:
        """The undisturbed run: what it answers, and which of its calls change something. It must keep every promise already."""
        record, problems = self._run(self._under)
        if record is None or problems:
            raise AssertionError(
                "the workflow fails without any fault:\n" + "\n".join([*problems, *told(record), self.cluster.trace.story()])
            )
        self._expected = self._outputs(record)
        self.report.points.update(point.call for point in self._made)
        self._replace_the_dead()

    def plans(self, kinds: Sequence[FaultKind], calls: set[str] | None) -> list[FaultPlan]:
        """One for each point and kind, beside what every run meets."""
        points = [point for point in self._made if (calls is None or point.call in calls) and point not in self._under.faults]
        return [FaultPlan({**self._under.faults, point: Fault(kind)}) for point in points for kind in kinds]

    def disturb(self, plan: FaultPlan) -> None:
        """One run that meets the plan's faults."""
        record, problems = self._run(plan)
        cluster = self.cluster
        self.report.tried += 1
        if len(cluster.met) < len(plan.faults):
            self.report.unreached.append(str(plan))
        self.report.faults.update(call.fault.kind.value for call in cluster.met if call.fault)
        if record is not None and (found := self._outputs(record)) != self._expected:
            problems.append(f"the outputs are {found}, undisturbed they are {self._expected}")
        if problems:
            self.report.findings.append(Finding(str(plan), tuple(problems), "\n".join([*told(record), cluster.trace.story()])))
            self.close()
        else:
            self._replace_the_dead()

    def look_for_leaks(self) -> None:
        """What runs and dead pods have left behind once everything has had its time."""
        if self._cluster is None:
            return
        leaked = leaked_keys(self._cluster, self._runs, self._options["retention_seconds"])
        if leaked:
            self.report.findings.append(
                Finding("after all runs", tuple(f"S18: {key} is left" for key in leaked), self._cluster.trace.story())
            )

    def close(self) -> None:
        if self._cluster is not None:
            self.report.seen += self._cluster.trace.seen
            self._cluster.stop()
            self._cluster = None
            self._runs = []

    def _run(self, plan: FaultPlan) -> tuple[RunRecord | None, list[str]]:
        """A whole run, and everything that is wrong with it."""
        cluster = self.cluster
        if self._reset is not None:
            self._reset()
        cluster.begin(plan)
        record: RunRecord | None = None
        try:
            run_id = self._clients(cluster, f"sweep {len(self._runs)}")
            self._runs.append(run_id)
            cluster.wait(run_id, self._within_seconds)
            made = list(cluster.trace.calls)
            if any(pod.gate.frozen for pod in cluster.pods):
                cluster.advance(PAUSE_TTLS * cluster.time.ttl_seconds)
            cluster.plan = FaultPlan()
            cluster.settle()
            # Only now has every pod heard what its calls did.
            looks = list(islice((call for call in made if call.name in LOOKS and not call.did), self._looks))
            self._made = sorted({point for call in made if call.did or call in looks for point in call.points if is_swept(point)})
            record = cluster.record(run_id)
        except (AssertionError, StorageError) as error:
            return record, [f"L1: {str(error).splitlines()[0]}"]
        harmed = {call.pod for call in cluster.met}
        unharmed = [pod.pod_id for pod in cluster.pods if pod.name not in harmed]
        broken = check_invariants(cluster.history, [record], max_lost=cluster.max_lost, unharmed_pods=unharmed)
        return record, [
            *map(str, broken),
            *cluster.trace.unequal,
            *self._wrong_effects(),
            *self._repaired(),
            *self._wrong_by_check(record),
        ]

    def _repaired(self) -> list[str]:
        """Something of a run was lost, and an audit has put it back."""
        repairs = self.cluster.limbo_repairs()
        return [f"L6: {repairs} repairs of runs in limbo"] if repairs else []

    def _wrong_effects(self) -> list[str]:
        """Effects that the outside world has seen twice."""
        happened = Counter(map(str, self._effects() if self._effects else ()))
        return [f"effect {effect!r} has happened {count} times" for effect, count in happened.items() if count > 1]

    def _wrong_by_check(self, record: RunRecord) -> list[str]:
        try:
            if self._check is not None:
                self._check(record)
        except AssertionError as error:
            return [str(error) or "the check fails"]
        return []

    def _replace_the_dead(self) -> None:
        cluster = self.cluster
        for pod in [pod for pod in cluster.pods if pod.gate.dead]:
            cluster.bury(pod)
        while len(cluster.pods) < self._pods:
            cluster.start_pod()
