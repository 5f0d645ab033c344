"""Compiled graphs: how scripts are told of them, how they are packed, and how a pod keeps them."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import StorageCorrupt
from storage.graphs import PART_BYTES, GraphCache, RunGraph, pack, parts_of, unpack


def definition(tasks: int = 1, **fields: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"tasks": {f"t{number}": {"task": "task_a"} for number in range(tasks)}} | fields)


def graph(tasks: int = 1, **fields: Any) -> tuple[bytes, RunGraph]:
    made = definition(tasks, **fields)
    return pack(made), RunGraph(made, compile_definition(made))


TREE = {
    "tasks": {
        "a": {"task": "task_a"},
        "b": {"task": "task_b", "depends_on": ["a"], "allow_failure": True, "priority": 7},
        "c": {"task": "task_c", "depends_on": ["a", "b"], "queue": "big"},
        "d": {"task": "task_a"},
    },
    "priority": -2,
}


def test_scripts_are_told_of_successors_in_five_words_each() -> None:
    made = WorkflowDefinition.model_validate(TREE)
    tree = RunGraph(made, compile_definition(made))
    assert tree.edges(0, 0, 10) == "1 1 a 7 default/task_b 2 2 - -2 big/task_c"
    assert tree.edges(0, 1, 10) == "2 2 - -2 big/task_c"
    assert tree.edges(0, 0, 1) == "1 1 a 7 default/task_b"
    assert (tree.edges(0, 0, 0), tree.edges(2, 0, 10), tree.edges(0, 5, 10)) == ("", "", "")


def test_a_task_without_predecessors_is_told_as_waiting_for_the_run_itself() -> None:
    made = WorkflowDefinition.model_validate(TREE)
    tree = RunGraph(made, compile_definition(made))
    assert tree.roots(0, 10) == "0 1 - -2 default/task_a 3 1 - -2 default/task_a"
    assert tree.roots(1, 10) == "3 1 - -2 default/task_a"


def test_entries_of_the_ready_queue_are_told_in_four_words_each() -> None:
    made = WorkflowDefinition.model_validate(TREE)
    tree = RunGraph(made, compile_definition(made))
    assert tree.entries(0, 2) == "0 - -2 default/task_a 1 a 7 default/task_b"
    assert tree.entries(3, 10) == "3 - -2 default/task_a"


def test_a_definition_that_was_stored_before_there_were_heartbeat_timeouts_has_none() -> None:
    stored = zlib.compress(b'{"tasks":{"a":{"task":"task_a","timeout":30.0}}}')
    [task] = unpack(stored).graph.tasks
    assert (task.timeout_seconds, task.heartbeat_timeout_seconds) == (30.0, None)


def test_a_definition_comes_back_from_its_packed_form_with_the_same_graph() -> None:
    made = WorkflowDefinition.model_validate(TREE)
    back = unpack(pack(made))
    assert back.definition == made
    assert back.graph == compile_definition(made)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zlib",
        pack(definition())[:-3],
        zlib.compress(b"{"),
        zlib.compress(b'{"tasks": {"a": {"task": "echo"}}, "of_a_newer_version": 1}'),
        zlib.compress(b'{"tasks": {"a": {"task": "echo", "depends_on": ["b"]}}}'),
    ],
)
def test_a_definition_that_this_version_does_not_understand_is_corrupt(packed: bytes) -> None:
    with pytest.raises(StorageCorrupt):
        unpack(packed)


def test_equal_definitions_are_packed_alike() -> None:
    assert pack(definition(3, name="n")) == pack(WorkflowDefinition.model_validate_json(definition(3, name="n").to_json()))


def test_parts_make_up_the_whole() -> None:
    packed = bytes(range(256)) * (PART_BYTES // 100)
    parts = parts_of(packed)
    assert b"".join(parts) == packed
    assert [len(part) for part in parts[:-1]] == [PART_BYTES] * (len(parts) - 1)
    assert parts_of(b"x") == [b"x"]


def test_runs_of_the_same_definition_share_one_graph() -> None:
    cache = GraphCache()
    packed, first = graph()
    _, second = graph()
    assert cache.put("r1", packed, first) is first
    assert cache.put("r2", packed, second) is first
    assert cache.get("r1") is cache.get("r2") is cache.known(packed) is first


def test_a_run_that_is_not_known_has_no_graph() -> None:
    cache = GraphCache()
    assert (cache.get("r1"), cache.known(b"x")) == (None, None)


def test_the_run_that_was_not_asked_for_longest_is_dropped_first() -> None:
    cache = GraphCache(max_runs=2)
    packs = {name: graph(name=name) for name in ("r1", "r2", "r3")}
    for name in ("r1", "r2"):
        cache.put(name, *packs[name])
    assert cache.get("r1") is not None
    cache.put("r3", *packs["r3"])
    assert [cache.get(name) is not None for name in packs] == [True, False, True]
    assert cache.known(packs["r2"][0]) is None


def test_a_graph_stays_as_long_as_one_of_its_runs_does() -> None:
    cache = GraphCache(max_runs=2)
    packed, shared = graph()
    cache.put("r1", packed, shared)
    cache.put("r2", packed, shared)
    cache.put("r3", *graph(name="other"))
    assert (cache.get("r1"), cache.get("r2"), cache.known(packed)) == (None, shared, shared)


def test_the_number_of_tasks_is_bounded_over_all_graphs() -> None:
    cache = GraphCache(max_tasks=25)
    for number in range(5):
        cache.put(f"r{number}", *graph(10, name=f"n{number}"))
    assert [cache.get(f"r{number}") is not None for number in range(5)] == [False, False, False, True, True]


def test_a_shared_graph_counts_once() -> None:
    cache = GraphCache(max_tasks=25)
    packed, shared = graph(20)
    for number in range(10):
        cache.put(f"r{number}", packed, shared)
    assert all(cache.get(f"r{number}") is shared for number in range(10))


def test_the_only_run_is_kept_however_large() -> None:
    cache = GraphCache(max_tasks=5)
    cache.put("r1", *graph(10))
    assert cache.get("r1") is not None
    cache.put("r2", *graph(3))
    assert (cache.get("r1"), cache.get("r2") is not None) == (None, True)


def test_a_run_put_again_is_counted_once() -> None:
    cache = GraphCache(max_tasks=25)
    for _ in range(10):
        cache.put("r1", *graph(20))
    cache.put("r2", *graph(3))
    assert cache.get("r1") is not None


def test_a_run_put_again_with_another_definition_leaves_nothing_of_the_first() -> None:
    cache = GraphCache()
    first, second = graph(name="first"), graph(name="second")
    cache.put("r1", *first)
    cache.put("r1", *second)
    assert cache.get("r1") is second[1]
    assert cache.known(first[0]) is None
