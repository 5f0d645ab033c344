"""`peerflow explain`: what it prints of a run and of one task."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from tests.support.fake_pod import RUN_ID, FakePods, run_json
from tests.unit.cli.conftest import Cli

RUN = f"GET /runs/{RUN_ID}"
EXPLAIN = f"{RUN}/explain"


def interval(code: str, start: str, end: str | None, seconds: float, **fields: JsonValue) -> JsonValue:
    return {"code": code, "from": start, "to": end, "seconds": seconds, **fields}


def explained(task_id: str, status: str, code: str, text: str, **fields: JsonValue) -> dict[str, JsonValue]:
    now: JsonValue = {"code": code, "text": text, "since": "2026-01-01T00:00:22Z"}
    task: dict[str, JsonValue] = {"id": task_id, "task": "task_a", "status": status, "now": now}
    return task | fields


READY = explained(
    "encode",
    "ready",
    "no_capable_pod",
    "no pod registers transcode",
    task="transcode",
    summary="waited 312 s: 290 s for a pod that registers transcode, 22 s for parents",
    waited_seconds={"no_capable_pod": 290.0, "parents": 22.0},
    intervals=[
        interval("parents", "2026-01-01T00:00:00Z", "2026-01-01T00:00:22Z", 22.0),
        interval("no_capable_pod", "2026-01-01T00:00:22Z", None, 290.0),
    ],
)
ROOT: JsonValue = {"id": "encode", "status": "ready", "code": "no_capable_pod", "text": "no pod registers transcode"}
PENDING = explained(
    "publish",
    "pending",
    "parents",
    "waits for 1 task: check",
    chain=[{"id": "check", "status": "pending", "code": "parents", "text": "waits for its parents"}, ROOT],
    chain_length=2,
    waited_seconds={"parents": 312.0},
)


def answer(*tasks: JsonValue, next_after: int | None = None, status: str = "running") -> JsonValue:
    return {"run_id": RUN_ID, "status": status, "at": "2026-01-01T00:05:12Z", "tasks": [*tasks], "next_after": next_after}


def test_a_run_is_explained_by_its_causes_and_its_tasks(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json(counts={"ready": 1, "pending": 1, "succeeded": 1}))
    pods.on(EXPLAIN, answer(READY, PENDING))
    ended = cli("explain", RUN_ID)
    assert ended.status == 0
    assert "1 task waits for encode: no pod registers transcode" in ended.out
    [row] = [line for line in ended.out.splitlines() if line.startswith("encode")]
    assert row.split() == ["encode", "ready", "4", "min", "50", "s", "no", "pod", "registers", "transcode"]
    assert "waited 312 s: 290 s for a pod that registers transcode, 22 s for parents" in ended.out
    assert "← check ← encode (no_capable_pod)" in ended.out
    assert "1 task that ended: --all shows them" in ended.err
    assert pods.requests[0].url.params["unended"] == "true"


def test_a_finished_run_shows_what_its_tasks_waited_for(cli: Cli, pods: FakePods) -> None:
    done = explained("a", "succeeded", "ended", "has ended: succeeded", summary="waited 22 s for parents")
    pods.on(RUN, run_json("succeeded"))
    pods.on(EXPLAIN, answer(status="succeeded"), answer(done, status="succeeded"))
    out = cli("explain", RUN_ID).out
    assert "waited 22 s for parents" in out
    assert "for parents: " not in out


def test_pages_are_read_until_there_are_enough_tasks(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json())
    pods.on(EXPLAIN, answer(READY, next_after=9), answer(next_after=20), answer(PENDING, next_after=30))
    ended = cli("explain", RUN_ID, "--limit", "2")
    assert [request.url.params.get("after") for request in pods.requests if request.url.path.endswith("explain")] == [None, "9", "20"]
    assert "more tasks follow: --limit shows more than 2" in ended.err


def test_one_task_is_explained_with_its_chain_and_its_history(cli: Cli, pods: FakePods) -> None:
    pods.on(EXPLAIN, answer(READY))
    out = cli("explain", RUN_ID, "--task", "encode").out
    assert pods.requests[0].url.params["task"] == "encode"
    assert "task encode (transcode) ready" in out
    assert "no pod registers transcode, since 2026-" in out or "no pod registers transcode, since 2025-" in out
    assert "(4 min 50 s)" in out
    rows = [line.split() for line in out.splitlines() if "━" in line and ":" in line]
    assert [row[-1] for row in rows] == ["parents", "no_capable_pod"]
    assert len(rows[1][-2]) > len(rows[0][-2])


def test_a_chain_says_how_much_of_it_is_left_out(cli: Cli, pods: FakePods) -> None:
    pods.on(EXPLAIN, answer({**PENDING, "chain_length": 1_002}))
    pods.on(RUN, run_json())
    assert "← … 1,000 more …" in cli("explain", RUN_ID, "--task", "publish").out
    assert "← check ← … 1,000 more … ← encode" in cli("explain", RUN_ID).out


def test_pods_that_could_run_it_are_named_with_their_load(cli: Cli, pods: FakePods) -> None:
    now: JsonValue = {
        "code": "pod_capacity",
        "text": "all slots are taken: p1 4/4",
        "since": "2026-01-01T00:05:00Z",
        "pods": [
            {"pod_id": "p1", "state": "alive", "running": 4, "concurrency": 4},
            {"pod_id": "p2", "state": "lost", "running": 1, "concurrency": 4, "last_seen_at": "2026-01-01T00:00:00Z"},
        ],
    }
    pods.on(EXPLAIN, answer({**READY, "now": now}))
    out = cli("explain", RUN_ID, "--task", "encode").out
    assert "pod p1 alive, 4/4 running\n" in out
    assert "pod p2 lost, 1/4 running, last seen " in out


def test_a_backoff_says_when_it_is_over(cli: Cli, pods: FakePods) -> None:
    now: JsonValue = {
        "code": "retry_at",
        "text": "waits for its next attempt",
        "since": "2026-01-01T00:05:00Z",
        "until": "2026-01-01T00:05:22Z",
    }
    pods.on(RUN, run_json())
    pods.on(EXPLAIN, answer({**READY, "now": now}))
    assert "waits for its next attempt, goes on in 10.0 s" in cli("explain", RUN_ID).out


@pytest.mark.parametrize("options", [[], ["--task", "encode"]])
def test_json_is_one_document_with_the_names_of_the_api(cli: Cli, pods: FakePods, options: list[str]) -> None:
    pods.on(EXPLAIN, answer(READY, next_after=None))
    document = json.loads(cli("explain", RUN_ID, "--json", *options).out)
    assert [part["from"] for part in document["tasks"][0]["intervals"]] == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:22Z"]
    assert document["tasks"][0]["now"]["code"] == "no_capable_pod"


def test_reasons_of_a_newer_pod_are_printed_as_they_are(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json())
    pods.on(EXPLAIN, answer(explained("a", "ready", "moon_phase", "waits for the full moon")))
    assert "waits for the full moon" in cli("explain", RUN_ID).out


def test_texts_of_a_run_cannot_steer_the_terminal(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json())
    pods.on(EXPLAIN, answer(explained("a", "ready", "queued", "\x1b[2Jgone")))
    assert "\x1b[2J" not in cli("explain", RUN_ID).out
