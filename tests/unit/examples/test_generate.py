"""The generated workflows have the levels of the recorded ones; the recorded ones convert whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from pydantic import JsonValue

from engine.compile import compile_definition
from engine.definition import parse_definition
from engine.graph import Graph
from engine.limits import Limits
from examples.generate import Definition, bwa, chain, fan, methylseq, montage
from examples.wfformat import NotWfFormat, convert

RECORDED = Path(__file__).parents[4] / "shared" / "wfinstances"
"""Traces of real workflows; not part of the project."""

SHAPES = [
    pytest.param(methylseq, "methylseq-dirt02-001.json", [8, 4, 5, 8, 7, 3, 1], 70, id="methylseq"),
    pytest.param(montage, "montage-chameleon-2mass-01d-001.json", [21, 45, 3, 3, 21, 3, 3, 4], 231, id="montage"),
    pytest.param(bwa, "bwa-chameleon-medium-003.json", [2, 1000, 2], 4000, id="bwa"),
]


def compiled(definition: JsonValue) -> Graph:
    limits = Limits()
    return compile_definition(parse_definition(definition, limits), functions=None, limits=limits)


def level_sizes(graph: Graph) -> list[int]:
    """Number of tasks whose longest way from a root has that length."""
    levels: dict[str, int] = {}
    for task_id in graph.order():
        parents = graph.predecessors[graph.index_of[task_id]]
        levels[task_id] = 1 + max((levels[graph.tasks[parent].id] for parent in parents), default=-1)
    sizes = Counter(levels.values())
    return [sizes[level] for level in sorted(sizes)]


@pytest.mark.parametrize(("make", "file", "levels", "edges"), SHAPES)
def test_generated_workflow_has_the_levels_and_edges_of_the_recorded_one(
    make: Callable[[], Definition], file: str, levels: list[int], edges: int
) -> None:
    del file
    graph = compiled(make())
    assert level_sizes(graph) == levels
    assert graph.edge_count == edges


@pytest.mark.parametrize(("make", "file", "levels", "edges"), SHAPES)
def test_recorded_workflow_keeps_its_levels_and_has_the_degrees_of_the_generated_one(
    make: Callable[[], Definition], file: str, levels: list[int], edges: int
) -> None:
    if not RECORDED.is_dir():
        pytest.skip("the recorded workflows are not beside this clone")
    recorded = compiled(convert(json.loads((RECORDED / file).read_bytes()), scale=0.001))
    assert level_sizes(recorded) == levels
    assert recorded.edge_count == edges
    generated = compiled(make())
    assert Counter(map(len, generated.predecessors)) == Counter(map(len, recorded.predecessors))


def test_bwa_is_as_wide_as_asked() -> None:
    assert level_sizes(compiled(bwa(width=10))) == [2, 10, 2]


def test_fan_is_one_to_many_to_one() -> None:
    assert level_sizes(compiled(fan(size=20))) == [1, 20, 1]


def test_chain_has_one_task_on_each_level() -> None:
    graph = compiled(chain(size=50))
    assert level_sizes(graph) == [1] * 50
    assert len(graph.critical_path()) == 50


def test_seconds_reach_every_task_and_are_left_out_otherwise() -> None:
    slow = cast(dict[str, dict[str, JsonValue]], fan(size=2, seconds=0.5)["tasks"])
    assert [task["args"] for task in slow.values()] == [{"seconds": 0.5}] * 4
    plain = cast(dict[str, dict[str, JsonValue]], fan(size=2)["tasks"])
    assert all("args" not in task for task in plain.values())


RECORDING: JsonValue = {
    "name": "two steps / odd name",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {"id": "a:1", "name": "a", "parents": [], "children": ["a_1", "b"]},
                {"id": "a_1", "name": "a", "parents": ["a:1"], "children": []},
                {"id": "b", "name": "b", "parents": ["a:1"], "children": []},
            ]
        },
        "execution": {"tasks": [{"id": "a:1", "runtimeInSeconds": 2.5}, {"id": "b", "runtimeInSeconds": 4}]},
    },
}


def test_conversion_scales_runtimes_and_keeps_ids_apart() -> None:
    definition = convert(RECORDING, scale=0.1)
    tasks = cast(dict[str, dict[str, JsonValue]], definition["tasks"])
    assert tasks == {
        "a_1": {"task": "simulate", "args": {"seconds": 0.25, "program": "a"}},
        "a_1_2": {"task": "simulate", "args": {"seconds": 0.0, "program": "a"}, "depends_on": ["a_1"]},
        "b": {"task": "simulate", "args": {"seconds": 0.4, "program": "b"}, "depends_on": ["a_1"]},
    }
    assert compiled(definition).edge_count == 2


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the document is not an object"),
        ({"schemaVersion": "1.4"}, "schemaVersion is '1.4'"),
        ({"schemaVersion": "1.5"}, "workflow is not an object"),
        ({"schemaVersion": "1.5", "workflow": {"specification": {"tasks": [{"id": ""}]}}}, "id is missing"),
        ({"schemaVersion": "1.5", "workflow": {"specification": {"tasks": [{"id": "a", "name": "a", "parents": ["z"]}]}}}, "parent 'z'"),
    ],
)
def test_conversion_names_what_is_not_wfformat(document: JsonValue, message: str) -> None:
    with pytest.raises(NotWfFormat, match=message):
        convert(document)
