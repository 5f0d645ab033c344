"""Bugs planted in the engine are found by a handful of runs: the machine can fail."""

from __future__ import annotations

import pytest

from peerflow.testing import Cluster, FaultKind, FaultPlan
from storage.gate import Rewrite
from tests.faults.scenarios import FAN, SEQUENCE
from tests.faults.schedule import Schedule
from tests.faults.schedules import run_schedules, shrunk
from tests.faults.storm import play
from tests.faults.sweeps import sweep
from tests.support.planted import replacing, replacing_everywhere
from tests.support.sim_tasks import Hold
from tests.support.waiting import wait_until

HELD = "if record and record.state == 'running' and record.claim == claim then return run, record end"
NO_FENCE = replacing("commit", HELD, "if record then return run, record end")
NO_MEMORY = replacing_everywhere("redis.call('SET', T .. 'reply:' .. pod, op .. cmsgpack.pack(answer), 'PX', 600000)", "")
COUNTS_TWICE = replacing_everywhere("counter.count = counter.count + 1 +", "counter.count = counter.count + 2 +")
BLIND_REAPER = replacing("reap", "if left > 0 and left <= CAP then", "if false then")


def test_a_commit_without_its_fence_is_found(valkey_url: str) -> None:
    with pytest.raises(AssertionError, match=r"  - S\d+"):
        sweep(SEQUENCE, valkey_url, calls=["commit"], kinds=[FaultKind.PAUSE_BEFORE], rewrite=NO_FENCE)


def test_an_operation_id_that_is_not_remembered_is_found(valkey_url: str) -> None:
    with pytest.raises(AssertionError, match=r"  - S17: .* repeats a call"):
        sweep(SEQUENCE, valkey_url, calls=["commit"], kinds=[FaultKind.UNKNOWN], rewrite=NO_MEMORY)


def test_a_predecessor_that_is_counted_twice_is_found(valkey_url: str) -> None:
    with pytest.raises(AssertionError, match=r"S4|L1"):
        sweep(FAN, valkey_url, calls=["commit"], kinds=[FaultKind.UNKNOWN], rewrite=COUNTS_TWICE)


def lost_though_leased(url: str, rewrite: Rewrite | None) -> int:
    """A pod claims a task shortly before its deadline, which it cannot put off then; it can while the task's lease lasts."""
    hold = Hold()
    with Cluster(2, [hold.function()], url=url, rewrite=rewrite) as cluster:
        first, second = cluster.pods
        second.freeze()
        first.cut_off()
        cluster.advance(0.85 * cluster.time.ttl_seconds)
        cluster.begin(FaultPlan.parse("; ".join(f"p1 heartbeat#{number} lost" for number in range(1, 1000))))
        first.reconnect()
        run_id = cluster.submit({"tasks": {"held": {"task": "held"}}})
        first.look()
        hold.wait_until_started()
        first.cut_off()
        second.thaw()
        cluster.advance(0.05 * cluster.time.ttl_seconds)
        # The second has beaten, and may judge half a TTL later; the first's deadline has passed by then, its task's lease has not.
        cluster.advance(0.6 * cluster.time.ttl_seconds)
        judged = cluster.trace.numbers["p2", "reap"]

        def judged_again() -> bool:
            second.look()
            # The second call from here on says that the first one is over.
            return cluster.trace.numbers["p2", "reap"] >= judged + 2

        wait_until(judged_again, "the second has judged")
        cluster.plan = FaultPlan()
        first.reconnect()
        hold.finish.set()
        cluster.wait(run_id)
        return cluster.tasks(run_id)["held"].lost


def test_a_reaper_that_does_not_look_at_leases_is_found(valkey_url: str) -> None:
    assert lost_though_leased(valkey_url, None) == 0
    assert lost_though_leased(valkey_url, BLIND_REAPER) == 1


def test_a_bug_in_a_schedule_is_shrunk_to_what_shows_it(valkey_url: str) -> None:
    schedule = Schedule.parse("2 pods: sequence fan; p1 claim#9 lost; * commit#1 pause-before; p2 commit#7 error BUSY; @90 cut 2 0.3")
    outcome = play(schedule, valkey_url, rewrite=NO_FENCE)
    assert outcome.problems
    smallest, again = shrunk(schedule, outcome, valkey_url, rewrite=NO_FENCE)
    assert again.problems
    assert (len(smallest.runs), smallest.faults, smallest.moves) == (1, ("* commit#1 pause-before",), ())


def test_random_schedules_find_a_missing_fence_and_say_how_to_replay_it(valkey_url: str) -> None:
    totals = run_schedules(range(100), valkey_url, rewrite=NO_FENCE, most_failures=1)
    assert totals.violations >= 1
    assert "replay('" in str(totals.failures[0])
