"""A reply that is lost again and again costs no attempt. BullMQ fails a job for ever that lost two claim replies, and never runs it."""

from __future__ import annotations

import pytest

from peerflow.testing import Cluster, FaultKind, FaultPlan, check
from tests.faults.scenarios import SEQUENCE
from tests.faults.tasks import TASKS


@pytest.mark.parametrize("pods", [1, 2])
@pytest.mark.parametrize("kind", [FaultKind.UNKNOWN, FaultKind.LOST])
@pytest.mark.parametrize("call", ["claim", "commit"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_task_runs_once_however_often_a_reply_is_lost_in_a_row(
    valkey_url: str, pods: int, kind: FaultKind, call: str, times: int
) -> None:
    with Cluster(pods, TASKS, url=valkey_url) as cluster:
        cluster.begin(FaultPlan.parse("; ".join(f"p1 {call}#{number} {kind}" for number in range(1, times + 1))))
        run_id = cluster.submit(SEQUENCE.workflow)
        assert cluster.wait(run_id).state == "succeeded"
        cluster.settle()
        record = cluster.record(run_id)
        assert [(task.attempts, task.lost) for task in record.tasks] == [(1, 0)] * len(record.tasks)
        assert len([entry for entry in cluster.history.entries() if entry.phase == "attempt_started"]) == len(record.tasks)
        assert [*check(cluster.history, [record]), *cluster.trace.unequal] == []
        if pods == 1:
            assert len(cluster.met) == times
