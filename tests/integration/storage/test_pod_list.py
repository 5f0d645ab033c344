"""Who lives, what they hold, and what they can do, as readers see it."""

from __future__ import annotations

import json
from typing import Any

from storage.partition import Identity
from storage.store import Store
from tests.support.key_leaks import KeyLeaks
from tests.support.lab import Lab, dag
from tests.support.servers import Server, connect


def said(lab: Lab, name: str, *functions: str, **fields: Any) -> None:
    """What a pod says of itself, as `scheduler.pod` writes it."""
    catalog = [
        {"name": function, "kind": "async", "description": f"does {function}", "parameters": {"type": "object"}} for function in functions
    ]
    description = {
        "host": "h", "version": "1", "state": "alive", "started_at_ms": 1_000, "ttl_ms": 10_000, "concurrency": 5,
        "queues": ["default"], "catalog": catalog,
    }  # fmt: skip
    lab.client.set(lab.keys.pod(name), json.dumps(description | fields), px=60_000)


async def test_pods_are_listed_by_their_start_with_what_they_hold(lab: Lab) -> None:
    first, second = lab.pod("p1"), lab.pod("p2")
    said(lab, "p1", "task_a", started_at_ms=2_000)
    said(lab, "p2", "task_a", "echo", state="draining", queues=["default", "big"])
    await lab.create(dag(a="", b="", c=""))
    await first.claim(2)
    two, one = await lab.store.pods()
    assert (one.pod_id, one.running, one.state, one.functions, one.queues) == ("p1", 2, "alive", ("task_a",), ("default",))
    assert (two.pod_id, two.running, two.state, two.functions, two.queues) == ("p2", 0, "draining", ("task_a", "echo"), ("default", "big"))
    assert (two.host, two.version, two.concurrency, two.started_at_ms) == ("h", "1", 5, 1_000)
    assert abs(one.last_seen_at_ms - lab.now_ms()) < 2_000
    second.beat()


async def test_a_pod_whose_deadline_has_passed_is_lost_and_its_functions_do_not_count(lab: Lab) -> None:
    dead = lab.pod("p1")
    lab.pod("p2")
    said(lab, "p1", "echo", "task_a")
    said(lab, "p2", "task_a")
    assert {name: function.pods for name, function in (await lab.store.functions()).items()} == {"echo": 1, "task_a": 2}
    lab.bury(dead)
    assert {pod.pod_id: pod.state for pod in await lab.store.pods()} == {"p1": "lost", "p2": "alive"}
    functions = await lab.store.functions()
    assert {name: function.pods for name, function in functions.items()} == {"task_a": 1}
    assert (functions["task_a"].kind, functions["task_a"].description) == ("async", "does task_a")
    assert functions["task_a"].parameters == {"type": "object"}


async def test_a_pod_that_has_not_said_what_it_is_is_not_listed(lab: Lab) -> None:
    pod = lab.pod("p1")
    lab.client.delete(lab.keys.pod("p1"))
    assert await lab.store.pods() == []
    assert await lab.store.functions() == {}
    pod.beat()


async def test_functions_are_listed_by_name(lab: Lab) -> None:
    lab.pod("p1")
    said(lab, "p1", "b", "c", "a")
    assert list(await lab.store.functions()) == ["a", "b", "c"]


async def test_no_pods_at_all_are_an_empty_list(lab: Lab) -> None:
    assert (await lab.store.pods(), await lab.store.functions()) == ([], {})


async def test_what_a_pod_holds_is_counted_over_all_partitions(server: Server, namespace: str, key_leaks: KeyLeaks) -> None:
    key_leaks.allow("*", "a pod that is not told to leave")
    store = await Store.open(server.url, namespace=namespace, partitions=3)
    lab = Lab(store, connect(server.url), server.url)
    connections = store.heartbeat_connections(timeout_seconds=5)
    who = Identity("p1", "digest", 10_000)
    assert [connection.beat(who, [], capabilities=" ").standing for connection in connections] == ["NEW"] * 3
    for partition in store.partitions:
        lab.client.zadd(partition.keys.claims("p1"), {"some ref": 1})
    said(lab, "p1")
    assert [(pod.pod_id, pod.running) for pod in await store.pods()] == [("p1", 3)]
    for connection in connections:
        connection.disconnect()
    await lab.close()
