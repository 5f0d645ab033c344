"""audit: a live run in which nothing happens is handed out to be looked at, to one pod at a time, less and less often."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from tests.support.lab import Lab, dag

QUIET_MS = 30_000
LONGEST_MS = 600_000
AGAIN_MS = 86_400_000


async def look(lab: Lab, place: int = 0, *, limit: int = 100) -> tuple[list[str], float | None, int]:
    with lab.moment():
        return await lab.partition.audit(QUIET_MS, LONGEST_MS, limit, place, AGAIN_MS)


@pytest.fixture(autouse=True)
def searched(lab: Lab) -> None:
    """As if all runs had just been searched for live ones that are not listed."""
    lab.client.zadd(lab.key("audits"), {"*": lab.now_ms() + AGAIN_MS})


def pass_time(lab: Lab, run_id: str, ms: int) -> None:
    """As if the run had been created, and looked at, and anything had happened in it, so much earlier."""
    created = int(lab.run_field(run_id, "created") or 0)
    lab.client.hset(lab.keys.run(run_id), "created", created - ms)
    lab.client.zadd(lab.key("audits"), {run_id: score(lab, run_id) - ms})


def listed(lab: Lab) -> set[str]:
    return {member.decode() for member in cast("list[bytes]", lab.client.zrange(lab.key("audits"), 0, -1))}


def commands(lab: Lab) -> Counter[str]:
    stats = cast("dict[str, dict[str, int]]", lab.client.info("commandstats"))
    return Counter({name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items() if name != "cmdstat_info"})


def score(lab: Lab, run_id: str) -> int:
    return int(cast("float", lab.client.zscore(lab.key("audits"), run_id)))


async def test_a_run_that_has_just_moved_is_not_quiet_and_nothing_is_written(lab: Lab) -> None:
    await lab.create(dag(a=""))
    with lab.unchanged():
        found, following, place = await look(lab)
    assert (found, place) == ([], 0)
    assert following is not None
    assert 25 < following <= 30


async def test_a_quiet_run_is_handed_out_once_and_again_after_as_long_again(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    pass_time(lab, run_id, 40_000)
    before = lab.raw()
    lab.narrator.distances.append(10_000)
    assert await look(lab) == ([run_id], pytest.approx(40, abs=2), 0)
    assert list(lab.changes(before)) == ["audits"]
    with lab.unchanged():
        assert (await look(lab))[0] == []
    pass_time(lab, run_id, 41_000)
    assert await look(lab) == ([run_id], pytest.approx(81, abs=2), 0)


async def test_looks_at_a_run_that_stays_quiet_come_no_further_apart_than_the_longest(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    pass_time(lab, run_id, 50 * LONGEST_MS)
    assert await look(lab) == ([run_id], pytest.approx(LONGEST_MS / 1000, abs=2), 0)


async def test_a_run_that_moved_since_is_looked_at_when_it_has_been_quiet_from_then_on(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a=""))
    await pod.claim_one()
    lab.client.zadd(lab.key("audits"), {run_id: score(lab, run_id) - 40_000})
    found, following, _ = await look(lab)
    assert found == []
    assert following == pytest.approx(30, abs=2)


async def test_runs_that_have_ended_or_are_gone_are_struck_off(lab: Lab) -> None:
    ended, gone = await lab.create(dag(a="")), await lab.create(dag(a=""))
    was = score(lab, ended)
    await lab.cancel(ended)
    assert lab.client.zscore(lab.key("audits"), ended) is None
    lab.client.zadd(lab.key("audits"), {ended: was - 60_000, gone: was - 60_000})
    lab.client.delete(lab.keys.run(gone))
    before = lab.raw()
    assert await look(lab) == ([], None, 0)
    assert set(lab.changes(before)) == {"audits"}
    assert list(lab.shown()["audits"]) == ["*"]
    lab.client.delete(*lab.client.keys(lab.key(f"run:{gone}:*")))


async def test_a_run_in_a_state_that_this_version_does_not_know_is_kept_and_not_handed_out(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    pass_time(lab, run_id, 40_000)
    lab.client.hset(lab.keys.run(run_id), "state", "paused")
    found, following, _ = await look(lab)
    assert (found, following) == ([], pytest.approx(40, abs=2))
    lab.client.hset(lab.keys.run(run_id), "state", "running")


async def test_a_clock_that_was_set_back_leaves_no_run_without_a_look(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    created = int(lab.run_field(run_id, "created") or 0)
    lab.client.hset(lab.keys.run(run_id), "created", created + 3_600_000)
    lab.client.zadd(lab.key("audits"), {run_id: created + 3_600_000})
    found, following, _ = await look(lab)
    assert (found, following) == ([], pytest.approx(30, abs=2))
    pass_time(lab, run_id, 3_640_000)
    lab.client.zadd(lab.key("audits"), {run_id: created - 40_000})
    assert (await look(lab))[0] == [run_id]


async def test_no_more_runs_are_handed_out_at_once_than_asked_for_and_the_rest_is_due_now(lab: Lab) -> None:
    runs = [await lab.create(dag(a="")) for _ in range(5)]
    for run_id in runs:
        pass_time(lab, run_id, 40_000)
    found, following, _ = await look(lab, limit=3)
    assert (len(found), following) == (3, 0.0)
    rest, following, _ = await look(lab, limit=3)
    assert sorted(found + rest) == sorted(runs)
    assert following == pytest.approx(40, abs=2)


async def test_live_runs_that_are_not_listed_are_found_by_a_walk_and_ended_ones_are_not(lab: Lab) -> None:
    runs = [await lab.create(dag(a="")) for _ in range(120)]
    for ended in runs[:10]:
        await lab.cancel(ended)
    lab.client.delete(lab.key("audits"))
    place, looks = 0, 0
    while looks == 0 or place:
        _, _, place = await look(lab, place)
        looks += 1
    assert looks == 3
    assert listed(lab) == {"*", *runs[10:]}
    with lab.unchanged():
        assert (await look(lab))[2] == 0


async def test_the_search_drops_runs_that_are_gone_from_the_list_of_runs(lab: Lab) -> None:
    kept, gone = await lab.create(dag(a="")), await lab.create(dag(a=""))
    lab.client.delete(lab.key("audits"), *lab.client.keys(lab.key(f"run:{gone}*")))
    assert (await look(lab))[2] == 0
    assert lab.client.zrange(lab.key("runs"), 0, -1) == [kept.encode()]


@pytest.mark.parametrize("score", [-1_000, AGAIN_MS + 60_000], ids=["its time has come", "the clock was set back"])
async def test_a_run_that_alone_is_not_listed_is_found_by_the_next_search(lab: Lab, score: int) -> None:
    runs = [await lab.create(dag(a="")) for _ in range(3)]
    lab.client.zrem(lab.key("audits"), runs[1])
    await look(lab)
    assert listed(lab) == {"*", runs[0], runs[2]}
    lab.client.zadd(lab.key("audits"), {"*": lab.now_ms() + score})
    await look(lab)
    assert listed(lab) == {"*", *runs}
    assert lab.client.zscore(lab.key("audits"), "*") == pytest.approx(lab.now_ms() + AGAIN_MS, abs=10_000)


async def test_a_look_costs_one_command_where_no_run_is_live_however_many_have_ended(lab: Lab) -> None:
    for _ in range(60):
        await lab.cancel(await lab.create(dag(a="")))
    await look(lab)
    before = commands(lab)
    assert await lab.partition.audit(QUIET_MS, LONGEST_MS, 100, 0, AGAIN_MS) == ([], None, 0)
    assert commands(lab) - before == {"zrange": 1, "time": 1, "evalsha": 1}
