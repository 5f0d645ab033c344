"""One schedule on a cluster of its own, from the first post to the check of everything that is left."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import RunAlreadyFinished, StorageError
from peerflow.testing import Cluster, FaultPlan, PodGone, RunRecord, check
from peerflow.testing.clients import cancel, post, post_at_once
from peerflow.testing.leaks import leaked_keys
from peerflow.testing.pods import ClusterPod
from peerflow.testing.report import told
from peerflow.testing.trace import Call
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.schedule import Move, Schedule
from tests.faults.tasks import BANK, TASKS

RETENTION_SECONDS = 30 * 86_400.0
"""Longer than all that schedules sleep and jump."""
WITHIN_SECONDS = 20.0
"""Of real time, for one run; far more than it takes."""
OUTLAST_TTLS = 3.5
"""Longer than any freeze of a schedule."""
AUDIT_SECONDS = 2.0
"""Far more often than pods look in production, so that audits meet everything that happens."""


@dataclass(slots=True)
class Outcome:
    """What a schedule came to."""

    problems: list[str] = field(default_factory=list[str])
    met: Counter[str] = field(default_factory=Counter[str])
    """Kind of fault, or of move → how often it happened."""
    seen: Counter[str] = field(default_factory=Counter[str])
    runs: int = 0
    story: str = ""


def play(schedule: Schedule, url: str, **options: Any) -> Outcome:
    """`options` are those of Cluster. Violations are answered, not raised."""
    BANK.clear()
    outcome = Outcome()
    wide = "wide" in schedule.runs
    settings: dict[str, Any] = {
        "retention_seconds": RETENTION_SECONDS, "audit_after_seconds": AUDIT_SECONDS, "concurrency": 64 if wide else 6, **options,
    }  # fmt: skip
    with Cluster(schedule.pods, TASKS, url=url, **settings) as cluster:
        cluster.begin(schedule.plan)
        storm = _Storm(cluster, schedule, outcome)
        try:
            storm.blow()
            outcome.problems += storm.judge()
        except (AssertionError, StorageError) as error:
            outcome.problems.append(f"L1: {str(error).splitlines()[0]}")
        outcome.met.update(call.fault.kind.value for call in cluster.met if call.fault)
        outcome.seen += cluster.trace.seen
        if outcome.problems:
            outcome.story = "\n".join([*storm.told(), cluster.trace.story()])
    return outcome


class _Storm:
    def __init__(self, cluster: Cluster, schedule: Schedule, outcome: Outcome) -> None:
        self._cluster, self._schedule, self._outcome = cluster, schedule, outcome
        self._left = sorted((move for move in schedule.moves if move.act != "cancel"), key=lambda move: move.at_call)
        self._cancels = sorted((move for move in schedule.moves if move.act == "cancel"), key=lambda move: move.at_call)
        self._run_ids: list[str] = []
        self._records: list[RunRecord] = []
        self._cancelling = threading.Lock()
        """One pod at a time: each asks another, which must not be waiting for the first."""

    def blow(self) -> None:
        """Everything happens that is planned; then calm, and everything comes to an end."""
        cluster = self._cluster
        cluster.before_call = self._cancel_at_the_moment
        for number, name in enumerate(self._schedule.runs):
            self._move()
            workflow = SCENARIOS[name].workflow
            poster = post_at_once if name == "submit" else post
            self._run_ids.append(poster(cluster, workflow, f"run {number}"))
        for run_id in self._run_ids:
            cluster.wait(run_id, within_seconds=WITHIN_SECONDS, meanwhile=self._move)
        cluster.before_call = None
        cluster.plan = FaultPlan()
        self._keep_one()
        if any(not pod.lives and not pod.gate.dead for pod in cluster.pods):
            cluster.advance(OUTLAST_TTLS * cluster.time.ttl_seconds)
        cluster.settle()
        self._records = [cluster.record(run_id) for run_id in self._run_ids]
        self._outcome.runs = len(self._records)

    def judge(self) -> list[str]:
        """Everything that is wrong."""
        cluster, problems = self._cluster, list[str]()
        problems += [str(violation) for violation in check(cluster.history, self._records, max_lost=cluster.max_lost)]
        problems += cluster.trace.unequal
        if repairs := cluster.limbo_repairs():
            problems.append(f"L6: {repairs} repairs of runs in limbo")
        problems += [f"effect {key} has happened {count} times" for key, count in Counter(BANK.payments).items() if count > 1]
        for record, name in zip(self._records, self._schedule.runs, strict=True):
            problems += _unexpected(record, SCENARIOS[name], cluster)
        for pod in [pod for pod in cluster.pods if pod.gate.dead]:
            cluster.bury(pod)
        problems += [f"S18: {key} is left" for key in leaked_keys(cluster, self._run_ids, RETENTION_SECONDS)]
        return problems

    def told(self) -> Sequence[str]:
        """The events of all runs that were read."""
        return [line for record in self._records for line in (f"run {record.run.run_id}", *told(record))]

    def _calls(self) -> int:
        return self._cluster.trace.numbers["*", "*"]

    def _keep_one(self) -> None:
        """A machine that runs pods starts a new one where all are gone."""
        if all(pod.gate.dead for pod in self._cluster.pods):
            self._cluster.start_pod()

    def _move(self) -> None:
        """In the thread of the test: moves that are due. Once nothing happens any more, time passes and pods call again."""
        self._keep_one()
        while self._left and self._left[0].at_call <= self._calls():
            move = self._left.pop(0)
            if move.act == "jump":
                self._cluster.jump(move.number)
                self._outcome.met["jump"] += 1
            elif (pod := self._pod(move)) is not None:
                self._break(pod, move)
                self._outcome.met[move.act] += 1

    def _pod(self, move: Move) -> ClusterPod | None:
        return next((pod for pod in self._cluster.living if pod.name == f"p{move.number}"), None)

    def _break(self, pod: ClusterPod, move: Move) -> None:
        self._cluster.history.fault(move.act, pod_id=pod.pod_id)
        match move.act:
            case "kill":
                pod.kill()
            case "freeze":
                pod.freeze()
                self._cluster.time.later(pod.thaw, move.ttls)
            case _:
                pod.cut_off()
                self._cluster.time.later(pod.reconnect, move.ttls)

    def _cancel_at_the_moment(self, call: Call, args: Sequence[Any]) -> None:
        """In the thread of the pod whose call is about to be sent."""
        del args
        if call.name in {"inbox", "heartbeat"} or not self._cancelling.acquire(blocking=False):
            return
        try:
            if self._cancels and self._cancels[0].at_call <= self._calls() and self._cancels[0].number <= len(self._run_ids):
                cancel(self._cluster, self._run_ids[self._cancels.pop(0).number - 1], not_through=call.pod)
                self._outcome.met["cancel"] += 1
        except (RunAlreadyFinished, PodGone):
            return
        finally:
            self._cancelling.release()


def _unexpected(record: RunRecord, scenario: Scenario, cluster: Cluster) -> list[str]:
    """A run that was not cancelled ends as it does undisturbed, but for a task that was lost too often."""
    too_often = any(task.lost > cluster.max_lost for task in record.tasks)
    if record.run.run_id in cluster.trace.cancelled or too_often or scenario.ends_as == record.run.state:
        return []
    return [f"run {record.run.run_id} of {scenario.name} is {record.run.state}, undisturbed it is {scenario.ends_as}"]
