"""The answer to a scrape, as Prometheus reads it."""

from __future__ import annotations

import pytest

from engine.observer import End
from peerflow.metrics.catalogue import FAMILIES
from storage.ready_queue import LaneDepth, QueueDepths
from tests.unit.metrics.conftest import OPENMETRICS, Stand


async def test_every_family_is_there_with_its_type_also_before_anything_has_happened(stand: Stand) -> None:
    found = await stand.families()
    assert {family.name: family.kind for family in FAMILIES} == {
        name: metric.type for name, metric in found.items() if name.startswith("peerflow_")
    }
    assert all(found[family.name].documentation == family.meaning for family in FAMILIES)


async def test_series_have_the_labels_of_their_family(stand: Stand) -> None:
    stand.metrics.tally.claimed("default/task_a", 0.5)
    stand.metrics.tally.ended("task_a", End.SUCCEEDED, 0.5)
    stand.metrics.tally.request_ended("GET", "/runs", "200", 0.5)
    found = await stand.families()
    told = {family.name: {name for sample in found[family.name].samples for name in sample.labels} - {"le"} for family in FAMILIES}
    silent = {"peerflow_retries_total", "peerflow_loop_failures_total", "peerflow_storage_call_duration_seconds"}
    assert told == {family.name: set() if family.name in silent else set(family.labels) for family in FAMILIES}


async def test_it_tells_what_the_pod_knows(stand: Stand) -> None:
    samples = await stand.samples()
    assert samples[("peerflow_ready",)] == samples[("peerflow_storage_up",)] == 1
    assert samples[("peerflow_slots",)] == 100
    assert samples[("peerflow_slots_in_use",)] == 7
    assert samples[("peerflow_process_slots",)] == 2
    assert samples[("peerflow_process_slots_in_use",)] == 1
    assert samples[("peerflow_claims_held",)] == 9
    assert samples[("peerflow_heartbeat_age_seconds",)] == 1.5
    assert samples[("peerflow_lease_ttl_seconds",)] == 10
    assert samples[("peerflow_log_lines_dropped_total",)] == 4
    assert samples[("peerflow_storage_connections_in_use", "api")] == 1
    assert samples[("peerflow_storage_connections_open", "api")] == 3
    assert samples[("peerflow_queue_ready_tasks", "task_a", "default")] == 3
    assert samples[("peerflow_queue_oldest_task_age_seconds", "task_a", "default")] == 12.5
    assert samples[("peerflow_queue_lanes_omitted",)] == 1
    assert samples[("peerflow_runs_live",)] == 5
    assert samples[("peerflow_storage_round_trip_seconds",)] == 0.001


async def test_claims_are_the_tasks_whose_waiting_was_measured(stand: Stand) -> None:
    for waited in (0.2, 3.0, 7200.0):
        stand.metrics.tally.claimed("default/task_a", waited)
    samples = await stand.samples()
    assert samples[("peerflow_claims_total", "task_a", "default")] == 3
    assert samples[("peerflow_queue_wait_seconds_count", "task_a", "default")] == 3
    assert samples[("peerflow_queue_wait_seconds_bucket", "task_a", "0.1", "default")] == 0
    assert samples[("peerflow_queue_wait_seconds_bucket", "task_a", "5.0", "default")] == 2
    assert samples[("peerflow_queue_wait_seconds_bucket", "task_a", "+Inf", "default")] == 3
    assert samples[("peerflow_queue_wait_seconds_sum", "task_a", "default")] == 7203.2


async def test_openmetrics_is_answered_to_those_who_ask_for_it(stand: Stand) -> None:
    stand.metrics.tally.ended("task_a", End.FAILED, 0.5)
    body, media_type = await stand.metrics.scrape(f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert body.endswith(b"# EOF\n")
    assert {family.name.removesuffix("_total") for family in FAMILIES} <= set(await stand.openmetrics())
    assert (await stand.metrics.scrape(""))[1] == "text/plain; version=0.0.4; charset=utf-8"


STRANGE = ["application/openmetrics-text; version=x", "text/plain; version=..", "*/*", ";;,,==", "application/json"]


@pytest.mark.parametrize("accept", STRANGE)
async def test_whatever_is_asked_for_something_is_answered(stand: Stand, accept: str) -> None:
    body, media_type = await stand.metrics.scrape(accept)
    assert b"peerflow_ready 1.0" in body
    assert media_type.startswith(("text/plain", "application/openmetrics-text"))


async def test_without_redis_a_pod_tells_what_it_knows_itself(stand: Stand) -> None:
    stand.metrics.tally.ended("task_a", End.SUCCEEDED, 0.5)
    stand.away = True
    samples = await stand.samples()
    assert samples[("peerflow_storage_up",)] == 0
    assert samples[("peerflow_attempts_total", "task_a", "succeeded")] == 1
    assert not [labels for labels in samples if labels[0].startswith("peerflow_queue_ready_tasks")]


async def test_a_pod_that_knows_that_redis_is_away_does_not_ask_it(stand: Stand) -> None:
    stand.storage_fails()
    samples = await stand.samples()
    assert (samples[("peerflow_storage_up",)], samples[("peerflow_ready",)]) == (0, 0)
    assert stand.asked == 0


async def test_a_lane_that_is_empty_again_is_told_as_0(stand: Stand) -> None:
    await stand.text()
    stand.depths = QueueDepths([LaneDepth("default", "task_b", 1, 1.0)], 0, 0, 0.001)
    stand.metrics._depths._read_at = float("-inf")  # pyright: ignore[reportPrivateUsage]
    samples = await stand.samples()
    assert samples[("peerflow_queue_ready_tasks", "task_a", "default")] == 0
    assert samples[("peerflow_queue_oldest_task_age_seconds", "task_a", "default")] == 0
    assert samples[("peerflow_queue_ready_tasks", "task_b", "default")] == 1


async def test_a_thousand_queues_do_not_make_a_thousand_series_for_ever(stand: Stand) -> None:
    text = ""
    for number in range(30):
        stand.depths = QueueDepths([LaneDepth(f"q{number}-{lane}", "f", 1, 1.0) for lane in range(128)], 0, 0, 0.001)
        stand.metrics._depths._read_at = float("-inf")  # pyright: ignore[reportPrivateUsage]
        text = await stand.text()
    assert 500 <= text.count("\npeerflow_queue_ready_tasks{") <= 500 + 128


async def test_pods_of_one_process_share_nothing(stand: Stand) -> None:
    other = Stand()
    stand.metrics.tally.ended("task_a", End.SUCCEEDED, 0.5)
    assert ("peerflow_attempts_total", "task_a", "succeeded") in await stand.samples()
    assert ("peerflow_attempts_total", "task_a", "succeeded") not in await other.samples()


async def test_names_and_texts_from_outside_cannot_forge_a_line(stand: Stand) -> None:
    stand.metrics.tally.request_ended("GET", '"} 1\npeerflow_ready 0 \\', "200", 0.1)
    assert (await stand.samples())[("peerflow_ready",)] == 1
