"""Every family of metrics that a pod has: its name, type and labels, and what it means. The process' own (`process_*`) come beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

TASK_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
WAIT_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
CALL_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
"""Scripts are bounded at about 5 ms of the server; a call is given up after 2.5 s."""
HTTP_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
TAKEOVER_SECONDS: Final = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 11.0, 12.0, 15.0, 20.0, 30.0, 60.0, 120.0)
"""A lease of 10 s and a second; leases are 2 to 60 s."""
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Compared by identity, so that it is a cheap key."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, "counter", meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, "gauge", meaning, labels)


def _histogram(name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Family:
    return Family(name, "histogram", meaning, labels, bounds)


RUNS_CREATED = _counter("peerflow_runs_created_total", "Runs that this pod has accepted.")
RUNS_FINISHED = _counter("peerflow_runs_finished_total", "Runs that a call of this pod has ended.", "state")
RUNS_LIVE = _gauge("peerflow_runs_live", "Runs that have not ended, in Redis; the same from every pod.")

CLAIMS = _counter("peerflow_claims_total", "Tasks that this pod has claimed.", "queue", "function")
QUEUE_WAIT = _histogram("peerflow_queue_wait_seconds", "From a task's being ready to its claim.", WAIT_SECONDS, "queue", "function")
ATTEMPTS = _counter("peerflow_attempts_total", "Attempts by their end.", "function", "outcome")
ATTEMPT_SECONDS = _histogram(
    "peerflow_attempt_duration_seconds",
    "From an attempt's start to its own end, waiting for a thread or process included.",
    TASK_SECONDS,
    "function",
)
RETRIES = _counter("peerflow_retries_total", "Attempts that failed and are followed by another one.", "function")
COMMITS_REFUSED = _counter("peerflow_commits_refused_total", "Results that came too late and changed nothing.", "reason")
LEASES_LOST = _counter("peerflow_leases_lost_total", "Attempts that this pod stopped because another pod may have the task.")
TASKS_REAPED = _counter("peerflow_tasks_reaped_total", "Tasks of silent pods that this pod took over.", "result")
TAKEOVER = _histogram(
    "peerflow_takeover_seconds", "From a silent pod's last sign of life to its task's being ready again.", TAKEOVER_SECONDS
)
LIMBO_REPAIRS = _counter("peerflow_limbo_repairs_total", "Things that Redis had lost of live runs, and that this pod put back.")

QUEUE_READY = _gauge("peerflow_queue_ready_tasks", "Ready tasks, in Redis; the same from every pod.", "queue", "function")
QUEUE_AGE = _gauge("peerflow_queue_oldest_task_age_seconds", "Since when the oldest of them is ready.", "queue", "function")
QUEUE_OMITTED = _gauge("peerflow_queue_lanes_omitted", "Pairs of queue and function with ready tasks that the two above leave out.")

STORAGE_UP = _gauge("peerflow_storage_up", "1 where Redis answers this pod.")
STORAGE_ROUND_TRIP = _gauge("peerflow_storage_round_trip_seconds", "How long Redis took to answer something small, at the last look.")
CALL_SECONDS_OF = _histogram("peerflow_storage_call_duration_seconds", "Script calls, from the call to its end.", CALL_SECONDS, "script")
CALL_FAILURES = _counter("peerflow_storage_call_failures_total", "Script calls that were lost or refused.", "script")
CONNECTIONS_IN_USE = _gauge("peerflow_storage_connections_in_use", "Connections to Redis that a call is on.", "pool")
CONNECTIONS_OPEN = _gauge("peerflow_storage_connections_open", "Connections to Redis that are open.", "pool")
OUTAGES = _counter("peerflow_storage_outages_total", "How often Redis stopped answering this pod.")
OUTAGE_SECONDS = _counter("peerflow_storage_outage_seconds_total", "How long it did not; counted once it is back.")

BUILD = _gauge("peerflow_build_info", "1; the labels say what runs.", "version", "python")
READY = _gauge("peerflow_ready", "1 where /readyz is 200.")
SLOTS = _gauge("peerflow_slots", "Attempts that this pod runs at once, at most.")
SLOTS_IN_USE = _gauge("peerflow_slots_in_use", "Attempts that it runs now.")
PROCESSES = _gauge("peerflow_process_slots", "Child processes for attempts, at most.")
PROCESSES_IN_USE = _gauge("peerflow_process_slots_in_use", "Attempts that need one now.")
CLAIMS_HELD = _gauge("peerflow_claims_held", "Claims of this pod, with those whose commit is under way.")
LEASE_TTL = _gauge("peerflow_lease_ttl_seconds", "How long this pod may be silent before others take its tasks over.")
HEARTBEAT_AGE = _gauge("peerflow_heartbeat_age_seconds", "Since when no heartbeat of this pod was answered.")
HEARTBEAT_SECONDS = _histogram("peerflow_heartbeat_duration_seconds", "Heartbeats, answered or not.", CALL_SECONDS)
HEARTBEAT_LAG = _histogram("peerflow_heartbeat_lag_seconds", "How much later than due a heartbeat began.", LAG_SECONDS)
HEARTBEATS_LATE = _counter("peerflow_heartbeats_late_total", "Heartbeats that took longer than half a lease.")
LOOP_LAG = _histogram("peerflow_event_loop_lag_seconds", "How much later than due the event loop did something, each second.", LAG_SECONDS)
LOOP_FAILURES = _counter("peerflow_loop_failures_total", "Rounds of background loops that met what they should not have.", "loop")
LOG_DROPPED = _counter("peerflow_log_lines_dropped_total", "Log lines that nobody read in time.")

REQUESTS = _counter("peerflow_http_requests_total", "HTTP requests that were answered.", "method", "route", "status")
REQUEST_SECONDS = _histogram(
    "peerflow_http_request_duration_seconds", "From a request to the end of its answer.", HTTP_SECONDS, "method", "route"
)

FAMILIES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
