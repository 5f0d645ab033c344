"""What a pod counts and measures, and `GET /metrics` in Prometheus' formats.

Counting is plain Python, because it happens at every hop: a number in a dict, a place in a list, written by one thread each, without a
lock. prometheus-client is asked when somebody looks. Every series is in `catalogue`; docs/monitoring.md explains them.

Labels are bounded: functions and queues that pods serve, routes of the API, scripts, words of this code. Never ids of runs or tasks, nor
callers. Where a set of labels grows beyond a limit all the same, the rest is counted under `other`.
"""

from peerflow.metrics.facts import PodFacts
from peerflow.metrics.loop_lag import LoopLag
from peerflow.metrics.scrape import Metrics

__all__ = ["LoopLag", "Metrics", "PodFacts"]
