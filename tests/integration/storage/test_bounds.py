"""No script call holds the server for long, whatever the size of a run, of a pod, or of what others have left in the queue."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from storage.partition import CLAIMS_PER_CALL, EDGES_PER_CALL, ENDED_PER_CALL, Claim, Ended
from storage.task_logs import Batch, LogCaps, body_of, encode_line
from tests.support.damage import auditor_of
from tests.support.lab import Lab, dag, fan
from tests.support.lab_pod import LabPod
from tests.support.meter import Meter
from tests.support.redis_process import RedisProcess

LIMIT_MS = 10.0
TASKS = 10_000


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Lab]:
    """A lab on a server of its own, whose time nobody else takes."""
    server = RedisProcess(tmp_path, "--auto-aof-rewrite-percentage", "0")
    server.start()
    lab = await Lab.open(server.url, "bounds")
    monkeypatch.setattr(lab, "moment", contextlib.nullcontext)
    yield lab
    await lab.close()
    server.close()


@pytest.fixture
def meter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Meter:
    return Meter(lab.client, monkeypatch)


def check(meter: Meter, *names: str) -> None:
    """Each of the scripts was called, and kept within the limit."""
    assert {name: meter.highest(name) for name in names if meter.highest(name) > LIMIT_MS} == {}


def roots(count: int, **task: Any) -> dict[str, Any]:
    return dag(**{f"t{number}": dict(task) for number in range(count)})


async def drain(pod: LabPod, claims: list[Claim]) -> int:
    """Commits and claims as the scheduler does, until nothing is ready. Answers how many tasks ended."""
    ended = 0
    while claims:
        batch: list[Ended] = []
        budget = EDGES_PER_CALL
        while claims and len(batch) < ENDED_PER_CALL and budget > 0:
            end = pod.end(claims.pop(), budget=budget)
            budget -= len(end.edges.split()) // 5
            batch.append(end)
        settled = await pod.commit(*batch, want=CLAIMS_PER_CALL)
        assert set(settled.words) == {"OK"}
        ended += len(batch)
        claims += settled.claims
    return ended


async def test_a_fan_out_to_ten_thousand_tasks_and_back(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(fan(TASKS))
    ended = await drain(pod, await pod.claim(1))
    await pod.pass_everything_on()
    ended += await drain(pod, await pod.claim())
    await pod.pass_everything_on()
    assert ended + await drain(pod, await pod.claim()) == TASKS + 2
    assert lab.run_field(run_id, "state") == "succeeded"
    check(meter, "create_run", "claim", "commit", "pass_on", "fire_timers")


async def ready(lab: Lab, pod: LabPod, count: int, **task: Any) -> str:
    run_id = await lab.create(roots(count, **task))
    await pod.pass_everything_on()
    assert lab.run_field(run_id, "ready") == str(count)
    return run_id


async def test_a_pod_with_thousands_of_claims_beats_dies_and_is_reaped(lab: Lab, meter: Meter) -> None:
    pod, judge = lab.pod("p1"), lab.pod("p2")
    run_id = await ready(lab, pod, 4_000)
    claims = [claim for _ in range(16) for claim in await pod.claim(256)]
    assert len(claims) == 4_000
    pod.beat(*claims)
    assert pod.beat(*claims[:3_800], unheard_before_ms=lab.now_ms() + 1).put_back == 150
    await pod.release(*claims[:500])
    lab.bury(pod)
    while lab.run_field(run_id, "running") != "0":
        assert await judge.reap() is not None
    check(meter, "claim", "heartbeat", "release", "reap")


async def test_hundreds_of_runs_that_end_in_one_call(lab: Lab, meter: Meter) -> None:
    crew = [lab.pod(f"p{number}") for number in range(100)]
    for outcome in ("succeeded", "failed", "failed"):
        run_ids = [await lab.create(dag(on_failure="stop", a="")) for _ in range(100)]
        claims = await crew[0].claim(100)
        await crew[0].commit(*(crew[0].end(claim, outcome) for claim in claims))
        assert {lab.run_field(run_id, "state") for run_id in run_ids} == {outcome}
    assert len(lab.take_inbox(crew[99])) == 200
    assert min(meter.costs["commit"]) < LIMIT_MS
    assert min(meter.costs["claim"]) < LIMIT_MS


async def test_ten_thousand_ready_tasks_of_a_cancelled_run_in_front_of_the_queue(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await ready(lab, pod, TASKS, priority=100)
    await lab.cancel(run_id)
    other = await lab.create(dag(a=""))
    looks = 1
    while not (claims := await pod.claim()):
        assert "ready" in lab.take_inbox(pod), "the pod is told to look again"
        looks += 1
    assert [claim.run_id for claim in claims] == [other]
    assert looks <= 11
    check(meter, "cancel", "claim")


async def test_ten_thousand_ready_tasks_of_a_cancelled_run_are_swept(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await ready(lab, pod, TASKS)
    await lab.cancel(run_id)
    graph = lab.graphs[run_id]
    for start in range(0, TASKS, EDGES_PER_CALL):
        following = start + EDGES_PER_CALL if start + EDGES_PER_CALL < TASKS else None
        lab.bring_forward("sweep")
        assert await pod.fire() == [(run_id, "sweep", start)]
        assert await lab.partition.sweep(run_id, start, following, graph.entries(start, EDGES_PER_CALL)) == "OK"
    assert lab.raw().keys() & {"lanes", "lane:default/task_a"} == set()
    check(meter, "sweep", "fire_timers")


async def test_a_thousand_functions_with_ready_tasks(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1", [f"f{number}" for number in range(1_000)])
    tasks = {f"t{number}": {"task": f"f{number % 1_000}", "priority": number % 7} for number in range(3_000)}
    run_id = await lab.create(dag(**tasks))
    await pod.pass_everything_on()
    claims = [claim for _ in range(10) for claim in await pod.claim()]
    assert len(claims) == 640
    assert {lab.graphs[run_id].graph.tasks[claim.index].priority for claim in claims[:400]} == {6}
    await lab.cancel(run_id)
    while lab.client.exists(lab.key("lanes")):
        assert await pod.claim() == []
    check(meter, "create_run", "pass_on", "claim", "cancel")


async def test_a_hundred_kinds_of_idle_pods_and_sixty_lanes_that_fill_at_once(lab: Lab, meter: Meter) -> None:
    for number in range(100):
        lab.stand_idle(lab.pod(f"p{number}", [f"g{number}_{function}" for function in range(50)]))
    for _ in range(3):
        await lab.create(dag(**{f"t{number}": {"task": f"f{number}"} for number in range(60)}))
    assert min(meter.costs["create_run"]) < LIMIT_MS


async def test_thousands_of_timers_that_are_due_at_once(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await ready(lab, pod, 2_000)
    for _ in range(8):
        claims = await pod.claim(250)
        await pod.commit(*(pod.end(claim, ("retry", "sleep")[claim.index % 2], "1", delay_ms=0) for claim in claims))
    while lab.run_field(run_id, "waiting") != "0":
        await lab.partition.fire_timers()
    check(meter, "commit", "fire_timers")


async def test_a_look_at_ten_thousand_tasks_and_the_repair_of_all_of_them(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    auditor = auditor_of(lab, pod)
    run_id = await lab.create(fan(TASKS))
    await pod.commit(pod.end(await pod.claim_one(), budget=0))
    lab.client.zrem(lab.key("timers"), f"edges {run_id} 0 0")
    assert len(await auditor.look(run_id)) == TASKS
    assert await auditor.look(run_id) == []
    lab.client.delete(lab.key("lanes"), lab.key("lane:default/task_a"))
    assert len(await auditor.look(run_id)) == TASKS
    claims = [claim for _ in range(8) for claim in await pod.claim(256)]
    lab.client.delete(lab.keys.claims("p1"), lab.keys.pods)
    assert len(await auditor.look(run_id)) == len(claims) == 2_048
    pod.beat(say=True)
    claims += [claim for _ in range(32) for claim in await pod.claim(256)]
    for at in range(0, 2_000, 200):
        await pod.commit(*(pod.end(claim, "retry", '"x"', delay_ms=60_000) for claim in claims[at : at + 200]))
    lab.client.delete(lab.key("timers"))
    assert len(await auditor.look(run_id)) == 2_000
    for at in range(2_000, 4_000, 200):
        await pod.commit(*(pod.end(claim) for claim in claims[at : at + 200]))
    lab.client.delete(lab.key(f"run:{run_id}:edges"))
    assert await auditor.look(run_id) == [f"{TASKS + 1} edges"]
    check(meter, "restore", "repair")


async def test_a_thousand_quiet_runs_that_are_due_at_once(lab: Lab, meter: Meter) -> None:
    for _ in range(1_000):
        await lab.create(dag(a=""))
    handed_out: set[str] = set()
    while len(handed_out) < 1_000:
        runs, _, _ = await lab.partition.audit(0, 60_000, 100, 0, 0)
        assert 0 < len(runs) <= 100
        handed_out |= set(runs)
    check(meter, "audit")


async def test_results_of_the_largest_size_are_read_in_bounded_pages(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(40)}, last="t0"))
    for claim in (await pod.claim())[:39]:
        await pod.commit(pod.end(claim, payload='"' + "x" * 262_000 + '"'))
    await auditor_of(lab, pod).look(run_id)
    check(meter, "restore")


async def test_as_many_and_as_large_lines_as_a_call_may_bring(lab: Lab, meter: Meter) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(roots(64))
    claims = await pod.claim(64)
    caps = LogCaps(lines=600, run_size=600_000)
    few, many = [b'[0,0,"x"]'], [b'[0,0,"y"]'] * 590
    for number in range(20):
        await lab.partition.append_log(run_id, "p1", [Batch(c.index, 1, f"s{number}", 1, 0, body_of(few)) for c in claims], caps)
    for number in range(3):
        await lab.partition.append_log(run_id, "p1", [Batch(c.index, 1, f"m{number}", 590, 0, body_of(many)) for c in claims], caps)
    large = [encode_line(0, "stdout", "z" * 60_000, None, None)] * 2
    for number in range(10):
        await lab.partition.append_log(run_id, "p1", [Batch(c.index, 1, f"l{number}", 2, 0, body_of(large)) for c in claims[:4]], caps)
    check(meter, "append_log")


async def test_callers_with_names_and_the_runs_of_a_tenant(lab: Lab, meter: Meter) -> None:
    tokens = lab.store.tokens(per_second=1.0, burst=50)
    runs = [await lab.create(dag(a=""), tenant="blue", caller="ann") for _ in range(250)]
    for run_id in runs:
        await lab.store.cancel(run_id, "enough", caller="bob")
        await tokens.take("ann")
    lab.bring_forward("unlist")
    for _ in range(4):
        await lab.pod("p1").fire()
    assert lab.client.zcard(lab.keys.runs_of("blue")) == lab.client.zcard(lab.keys.runs) == 0
    check(meter, "create_run", "cancel", "fire_timers", "take_token")
