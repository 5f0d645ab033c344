"""Nothing of an ended run may be left when its retention is over; a slice that another pod takes up two seconds later is not left."""

from __future__ import annotations

import pytest

from peerflow.testing.cluster import Cluster
from peerflow.testing.faults import FaultPlan
from peerflow.testing.leaks import leaked_keys
from tests.support.sim_tasks import MakeCluster, step

RETENTION_SECONDS = 3600.0
ASLEEP = {
    "on_failure": "stop",
    "retention": RETENTION_SECONDS,
    "tasks": {
        "asleep": {"task": "sleep", "args": {"seconds": 86_400}},
        "bad": {"task": "boom", "depends_on": ["step"]},
        "step": {"task": "step"},
    },
}


def boom() -> None:
    raise ValueError("boom")


@pytest.fixture
def cluster(peerflow_cluster: MakeCluster) -> Cluster:
    return peerflow_cluster(pods=2, tasks=[step, boom])


@pytest.mark.parametrize("fault", ["", "* sweep#1 crash-before", "* sweep#1 lost"])
def test_a_sleep_of_an_ended_run_is_swept_although_the_pod_that_began_it_dies(cluster: Cluster, fault: str) -> None:
    cluster.begin(FaultPlan.parse(fault))
    run_id = cluster.submit(ASLEEP)
    assert cluster.wait(run_id).state == "failed"
    assert leaked_keys(cluster, [run_id], RETENTION_SECONDS) == []
