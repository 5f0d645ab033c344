"""Recovery times are read off the events: from the loss, or from a kill, to the next claim."""

from __future__ import annotations

import pytest

from peerflow.testing.recovery import Recovery, Summary, percentile, since_killed, since_lost, summary
from tests.support.fake_run import FakeRun
from tests.support.lab import dag


def test_the_time_from_a_loss_to_the_next_claim_is_told_for_each_lost_attempt() -> None:
    retried = {"retry": {"max_attempts": 2}}
    run = FakeRun(dag(a="", b="", c="", d=retried))
    run.claim("d", "p1")
    run.retry("d")
    run.fire("d")
    run.claim("d", "p1")
    run.lose("d")
    run.claim("a", "p1")
    run.claim("b", "p2")
    run.lose("a")
    lost_at_ms = run.now_ms
    run.now_ms += 500
    run.claim("a", "p2")
    again_at_ms = run.now_ms
    run.give_back("b")
    run.claim("b", "p2")
    run.succeed("a", "b")
    run.claim("c", "p2")
    run.lose("c")
    run.cancel()
    found = since_lost([run.record()])
    assert found == [Recovery(run.run_id, "a", "p1", lost_at_ms, again_at_ms)]
    assert found[0].seconds == 0.51


def test_the_time_from_a_kill_counts_for_what_the_pod_held_then_and_did_not_finish() -> None:
    run = FakeRun(dag(lost="", released="", done="", others="", later="", retried={"retry": {"max_attempts": 3}}))
    for task_id in ("retried", "lost", "released", "done"):
        run.claim(task_id, "p1")
    run.retry("retried")
    run.claim("others", "p2")
    killed_at_ms = run.now_ms
    run.succeed("done")
    run.now_ms += 2_000
    for task_id in ("lost", "others"):
        run.lose(task_id)
    run.give_back("released", "unheard")
    for task_id in ("lost", "released", "others"):
        run.claim(task_id, "p2")
    run.claim("later", "p1")
    run.lose("later")
    run.claim("later", "p2")
    for _ in range(2):
        run.fire("retried")
        run.claim("retried", "p2")
        run.retry("retried")
    found = since_killed([run.record()], "p1", killed_at_ms)
    assert [(recovery.task_id, recovery.seconds) for recovery in found] == [("lost", 2.05), ("released", 2.06)]


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (25, 1.0), (50, 2.0), (51, 3.0), (99, 4.0), (100, 4.0)])
def test_a_percentile_is_a_value_that_was_seen(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value


def test_a_summary_has_the_median_the_tail_and_the_longest_or_nothing() -> None:
    recoveries = [Recovery("R", "a", "p", 0, seconds * 1000) for seconds in range(200, 0, -1)]
    assert summary(recoveries) == Summary(200, 100.0, 198.0, 200.0)
    assert summary([]) == Summary(0, None, None, None)
