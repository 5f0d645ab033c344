"""Why a ready task does not run follows from what pods say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from engine.reasons import Reason
from storage.capacity import find_reason
from storage.views import PodView


def pod(pod_id: str = "p1", **fields: Any) -> PodView:
    given: dict[str, Any] = {
        "host": "h",
        "version": "0",
        "state": "alive",
        "started_at_ms": 0,
        "last_seen_at_ms": 0,
        "concurrency": 2,
        "running": 0,
        "queues": ("default",),
        "functions": ("f", "g"),
    }
    return PodView(pod_id, **given | fields)


def told(*pods: PodView, function: str = "f", queue: str = "default") -> tuple[Reason, str]:
    found = find_reason(function, queue, pods)
    return found.reason, found.text


def test_nobody_registers_the_function() -> None:
    assert told() == (Reason.NO_CAPABLE_POD, "no pod registers f")
    assert told(pod(), function="x") == (Reason.NO_CAPABLE_POD, "no pod registers x")
    assert told(pod(), function="x", queue="gpu")[1] == "no pod registers x, and none serves queue gpu"
    assert told(pod(queues=("gpu",)), function="x", queue="gpu")[1] == "no pod registers x"


def test_whoever_registers_the_function_serves_other_queues() -> None:
    assert told(pod(queues=("default", "big")), queue="gpu") == (
        Reason.NO_CAPABLE_POD,
        "no pod that registers f serves queue gpu; p1 has it and serves default, big",
    )


def test_function_and_queue_must_be_served_by_the_same_pod() -> None:
    assert told(pod("p1"), pod("p2", functions=("h",), queues=("gpu",)), queue="gpu")[0] is Reason.NO_CAPABLE_POD


@pytest.mark.parametrize("state", ["draining", "lost"])
def test_a_pod_that_leaves_or_is_lost_is_no_help_but_is_named(state: str) -> None:
    found = find_reason("f", "default", [pod("p1", state=state), pod("p2", functions=("g",))])
    assert (found.reason, found.text) == (Reason.NO_CAPABLE_POD, f"no pod registers f; p1 could, and is {state}")
    assert [named.pod_id for named in found.pods] == ["p1"]


def test_all_that_could_run_it_are_full() -> None:
    found = find_reason("f", "default", [pod("p1", running=2), pod("p2", running=3), pod("p3", functions=("g",))])
    assert (found.reason, found.text) == (Reason.POD_CAPACITY, "all slots are taken: p1 2/2, p2 3/2")
    assert [named.pod_id for named in found.pods] == ["p1", "p2"]


def test_at_most_ten_full_pods_are_named() -> None:
    found = find_reason("f", "default", [pod(f"p{number}", running=2) for number in range(13)])
    assert found.text.endswith("p9 2/2 and 3 more")
    assert len(found.pods) == 10


def test_a_function_that_needs_a_child_process_waits_for_one() -> None:
    """A pod has few of those, and slots to spare."""
    both = pod("p1", process_functions=frozenset({"f"})), pod("p2", process_functions=frozenset({"f"}), running=2)
    assert told(*both) == (Reason.POD_CAPACITY, "waits for a child process of p1")
    assert told(*both, pod("p3"))[0] is Reason.QUEUED


def test_one_pod_with_room_is_enough() -> None:
    found = find_reason("f", "default", [pod("p1", running=2), pod("p2")])
    assert (found.reason, found.text) == (Reason.QUEUED, "waits for its turn: a pod with room takes it")
