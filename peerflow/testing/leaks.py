"""What should have gone away and has not."""

from __future__ import annotations

import time
from collections.abc import Sequence

from peerflow.testing.cluster import Cluster

AFTERWARDS_SECONDS = 120.0
"""Behind the end of retention; what dead pods leave lives for 12 TTLs."""
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 1.0
OWNED = ("layout", "pods", "timers", "audits", "waiting", "clock")
"""One for each partition or namespace, whatever has run there: nothing of it grows with runs. Their members are looked at instead."""


def leaked_keys(cluster: Cluster, run_ids: Sequence[str], retention_seconds: float) -> list[str]:
    """Lets retention pass, and answers keys, timers and queue entries that are left of these runs, and keys that nothing would remove."""
    cluster.settle()
    # A slice whose pod has died is taken up again two seconds later, which is long before a run is forgotten: not after it, as one jump
    # over all of that time would have it.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _unswept(cluster, set(run_ids)) and time.monotonic() < deadline:
        cluster.advance(LOOK_SECONDS)
    cluster.advance(retention_seconds + AFTERWARDS_SECONDS + 12 * cluster.time.ttl_seconds)
    cluster.settle()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (leaked := _left(cluster, set(run_ids))) and time.monotonic() < deadline:
        # A pod whose turn has not come on a busy machine has not looked yet.
        cluster.advance(LOOK_SECONDS)
    return leaked


def _unswept(cluster: Cluster, runs: set[str]) -> bool:
    return any(
        member.startswith(("edges ", "sweep ")) and runs & set(member.split(" ")) for _, member in cluster.backstage.glimpse().timers
    )


def _left(cluster: Cluster, runs: set[str]) -> list[str]:
    keys = cluster.backstage.keys()
    glimpse = cluster.backstage.glimpse()
    names = {pod.pod_id for pod in cluster.living}
    leaked = [key for key in keys if any(part in runs for part in key.split(":"))]
    leaked += [key for key, left in keys.items() if left == -1 and key not in leaked and key.rpartition(":")[2] not in OWNED]
    leaked += [f"timer {member!r}" for _, member in glimpse.timers if runs & set(member.split(" "))]
    leaked += [f"pod {pod} in `pods`" for pod in glimpse.deadlines if pod not in names]
    return sorted(leaked)
