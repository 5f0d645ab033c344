"""What happens, and what is counted of it."""

from __future__ import annotations

from engine import events
from engine.events import Event
from engine.observer import End
from engine.states import RunState
from peerflow.metrics import catalogue
from peerflow.metrics.catalogue import Family
from peerflow.metrics.instruments import SERIES
from peerflow.metrics.tally import _COUNTED, Tally  # pyright: ignore[reportPrivateUsage]

ELSEWHERE = {"PodStarted", "PodDraining", "PodStopped", "TaskClaimed", "AttemptFinished", "ClaimsReleased"}
"""Events that are no counters of their own: gauges tell of the pod, the observer of claims and attempts."""


def value(tally: Tally, family: Family, *labels: str) -> float:
    return dict(tally.counts[family].read())[labels]


def observed(tally: Tally, family: Family, *labels: str) -> tuple[int, float]:
    """How many values, and their sum."""
    counts, total = next((counts, total) for told, counts, total in tally.histograms[family].read() if told == labels)
    return sum(counts), total


def test_every_event_is_counted_or_told_otherwise() -> None:
    kinds = {kind.__name__ for kind in Event.__subclasses__() if kind.__module__ == "engine.events"}
    counted = {kind.__name__ for kind in _COUNTED}
    assert counted | ELSEWHERE == kinds
    assert not counted & ELSEWHERE


def test_each_event_raises_its_counter() -> None:
    tally = Tally()
    claim = {"run_id": "r", "task_id": "t", "attempt": 1, "claim_id": "c", "pod_id": "p"}
    for event in (
        events.RunCreated(run_id="r", name=None, tasks=1, edges=0, duration_seconds=0.1),
        events.RunFinished(run_id="r", state=RunState.FAILED),
        events.RunCancelled(run_id="r", reason=None),
        events.RetryScheduled(run_id="r", task_id="t", function="f", attempt=1, delay_seconds=1),
        events.CommitRefused(**claim, current="another claim, or none"),  # pyright: ignore[reportArgumentType]
        events.CommitRefused(**claim, current=events.RUN_HAD_ENDED),  # pyright: ignore[reportArgumentType]
        events.LeaseLost(**claim),  # pyright: ignore[reportArgumentType]
        events.TasksReaped(pod_id="p", requeued=4, failed=2, takeover_seconds=11),
        events.LimboRepaired(pod_id="p", run_id="r", repairs=3, what=("0 queue",)),
        events.StorageLost(pod_id="p", address="a", error="e"),
        events.StorageBack(pod_id="p", address="a", duration_seconds=2.5),
        events.HeartbeatLate(pod_id="p", duration_seconds=6, lease_ttl_seconds=10),
        events.LoopFailed(pod_id="p", loop="Reaper", error="e", traceback=""),
        events.PodStopped(pod_id="p", released=0),
    ):
        tally.publish(event)
    assert {(family.name, *labels): number for family, counts in tally.counts.items() for labels, number in counts.read() if number} == {
        ("peerflow_runs_created_total",): 1,
        ("peerflow_runs_finished_total", "failed"): 1,
        ("peerflow_runs_finished_total", "cancelled"): 1,
        ("peerflow_retries_total", "f"): 1,
        ("peerflow_commits_refused_total", "stale"): 1,
        ("peerflow_commits_refused_total", "run_ended"): 1,
        ("peerflow_leases_lost_total",): 1,
        ("peerflow_tasks_reaped_total", "requeued"): 4,
        ("peerflow_tasks_reaped_total", "failed"): 2,
        ("peerflow_limbo_repairs_total",): 3,
        ("peerflow_storage_outages_total",): 1,
        ("peerflow_storage_outage_seconds_total",): 2.5,
        ("peerflow_heartbeats_late_total",): 1,
        ("peerflow_loop_failures_total", "Reaper"): 1,
    }


def test_counters_whose_labels_are_known_begin_at_0() -> None:
    tally = Tally()
    assert value(tally, catalogue.LIMBO_REPAIRS) == 0
    assert value(tally, catalogue.TASKS_REAPED, "failed") == 0
    assert value(tally, catalogue.CALL_FAILURES, "commit") == 0
    assert observed(tally, catalogue.TAKEOVER) == (0, 0.0)


def test_claims_and_ends_are_counted_by_function() -> None:
    tally = Tally()
    for waited in (0.5, 1.5):
        tally.claimed("fast/f", waited)
    tally.ended("f", End.SUCCEEDED, 0.25)
    tally.ended("f", End.RELEASED, None)
    tally.taken_over("f", 11.0)
    assert observed(tally, catalogue.QUEUE_WAIT, "fast", "f") == (2, 2.0)
    assert observed(tally, catalogue.ATTEMPT_SECONDS, "f") == (1, 0.25)
    assert observed(tally, catalogue.TAKEOVER) == (1, 11.0)
    assert dict(tally.counts[catalogue.ATTEMPTS].read()) == {("f", "succeeded"): 1, ("f", "released"): 1, ("f", "lost"): 1}


def test_calls_that_were_not_answered_are_counted_twice() -> None:
    tally = Tally()
    tally.call_ended("commit", 0.002, True)
    tally.call_ended("commit", 2.5, False)
    assert observed(tally, catalogue.CALL_SECONDS_OF, "commit") == (2, 2.502)
    assert value(tally, catalogue.CALL_FAILURES, "commit") == 1


def test_heartbeats_have_a_lag_and_a_duration() -> None:
    tally = Tally()
    tally.beaten(0.25, 0.5)
    assert observed(tally, catalogue.HEARTBEAT_LAG) == (1, 0.25)
    assert observed(tally, catalogue.HEARTBEAT_SECONDS) == (1, 0.5)


def test_a_thousand_functions_do_not_make_a_thousand_series() -> None:
    tally = Tally()
    for number in range(2 * SERIES):
        tally.claimed(f"q{number}/f{number}", 0.1)
        tally.ended(f"f{number}", End.SUCCEEDED, 0.1)
        tally.request_ended("GET", f"/{number}", "200", 0.1)
    for family in (catalogue.QUEUE_WAIT, catalogue.ATTEMPT_SECONDS, catalogue.REQUEST_SECONDS):
        series = tally.histograms[family].read()
        assert len(series) == SERIES + 1
        assert sum(sum(counts) for _, counts, _ in series) == 2 * SERIES
    assert len(tally.counts[catalogue.ATTEMPTS].read()) == len(tally.counts[catalogue.REQUESTS].read()) == SERIES + 1
