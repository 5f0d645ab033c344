"""Tools that prove what peerflow promises, for its own tests and for those of users: docs/testing.md.

    from peerflow.testing import Cluster

`Cluster` runs pods of this process on a real server, with a clock and faults of the test's own. Each name is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerflow.testing.caller import PodGone
    from peerflow.testing.checker import Violation, check
    from peerflow.testing.cluster import Cluster
    from peerflow.testing.faults import ERRORS, Fault, FaultKind, FaultPlan, Point
    from peerflow.testing.history import History
    from peerflow.testing.pods import ClusterPod
    from peerflow.testing.records import RunRecord
    from peerflow.testing.sweep import SweepReport, crash_sweep

_HOME = {
    "PodGone": "caller",
    "Violation": "checker",
    "check": "checker",
    "Cluster": "cluster",
    "ERRORS": "faults",
    "Fault": "faults",
    "FaultKind": "faults",
    "FaultPlan": "faults",
    "Point": "faults",
    "History": "history",
    "ClusterPod": "pods",
    "RunRecord": "records",
    "SweepReport": "sweep",
    "crash_sweep": "sweep",
}

__all__ = [
    "ERRORS",
    "Cluster",
    "ClusterPod",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "History",
    "PodGone",
    "Point",
    "RunRecord",
    "SweepReport",
    "Violation",
    "check",
    "crash_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
