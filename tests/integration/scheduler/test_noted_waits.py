"""Pods at work note why tasks wait, by themselves: what their claims leave behind, and what they find when they come."""

from __future__ import annotations

from engine.reasons import Reason
from storage.explained import TaskExplanation
from tests.support.bench import Bench
from tests.support.servers import Server, connect
from tests.support.waiting import wait_until_async


async def good() -> str:
    return "good"


async def rare() -> str:
    return "rare"


async def explained(bench: Bench, run_id: str, task_id: str) -> TaskExplanation:
    [task] = (await bench.store.explain_task(run_id, task_id)).tasks
    return task


def noted(bench: Bench, server: Server) -> list[tuple[str, int]]:
    """Reasons of the lane of `rare`, and how many ms each has lasted."""
    partition = bench.store.partitions[0]
    with connect(server.url) as client:
        lines = client.lrange(partition.keys.waits("default/rare"), 0, -1)
    words = [str(line).split() for line in lines]
    return [(code, int(to_ms) - int(from_ms)) for code, from_ms, to_ms in words]


async def test_a_pod_notes_what_its_claims_leave_behind(bench: Bench, server: Server) -> None:
    await bench.pod(good)
    run_id = await bench.post({"steps": [{"type": "parallel", "tasks": ["good", "rare"]}]})

    async def told() -> bool:
        return any(code == Reason.NO_CAPABLE_POD and length > 1_000 for code, length in noted(bench, server))

    await wait_until_async(told, "the wait is noted", 20)
    await bench.pod(rare)
    await bench.finished(run_id)
    history = await explained(bench, run_id, "rare")
    assert history.intervals[0].reason is Reason.NO_CAPABLE_POD
    assert history.waited_ms[Reason.NO_CAPABLE_POD] > 1_000


async def test_a_pod_notes_what_has_waited_for_it(bench: Bench, server: Server) -> None:
    """Nobody else is there to do so."""
    run_id = await bench.post({"steps": [{"type": "sequential", "tasks": ["rare"]}]})

    async def has_waited() -> bool:
        return (await explained(bench, run_id, "rare")).waited_ms.get(Reason.NO_CAPABLE_POD, 0) > 1_500

    await wait_until_async(has_waited, "it has waited for a while")
    assert noted(bench, server) == []
    await bench.pod(rare)
    await bench.finished(run_id)

    async def told() -> bool:
        return (await explained(bench, run_id, "rare")).waited_ms.get(Reason.NO_CAPABLE_POD, 0) > 1_500

    await wait_until_async(told, "the wait is in its history")
