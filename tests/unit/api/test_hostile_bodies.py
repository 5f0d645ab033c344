"""Every hostile body is refused at once, with a problem document that names the place, and nothing reaches the store."""

from __future__ import annotations

import time

import pytest

from tests.support.hostile_bodies import CASES, SMALL_CASES, Hostile
from tests.unit.api.conftest import Pod

SECONDS = 5.0
"""The promise is one second; machines that run tests are slower and busier than those that run pods."""


@pytest.mark.parametrize("hostile", CASES)
async def test_a_hostile_body_is_refused_fast_with_its_place_and_leaves_nothing(pod: Pod, hostile: Hostile) -> None:
    body = hostile.body()
    started = time.monotonic()
    problem = await pod.refused("POST", "/workflow", hostile.status, content=body, headers=hostile.headers)
    assert time.monotonic() - started < SECONDS
    assert problem.errors[0].code == hostile.code
    if hostile.pointer is not None:
        assert problem.errors[0].pointer == hostile.pointer
    assert pod.store.stored == []
    assert "create_run" not in pod.store.calls


@pytest.mark.parametrize("hostile", SMALL_CASES)
async def test_a_dry_run_refuses_the_same(pod: Pod, hostile: Hostile) -> None:
    problem = await pod.refused("POST", "/workflow?dry_run=true", hostile.status, content=hostile.body(), headers=hostile.headers)
    assert problem.errors[0].code == hostile.code


async def test_broken_json_is_refused_with_line_and_column(pod: Pod) -> None:
    body = b'{\n  "steps": [\n    oops\n  ]\n}'
    problem = await pod.refused("POST", "/workflow", 400, content=body, headers={"Content-Type": "application/json"})
    assert problem.detail.startswith("line 3, column 5: ")


async def test_all_problems_of_a_definition_come_at_once(pod: Pod) -> None:
    definition = {
        "nme": "x",
        "tasks": {
            "a": {"task": "tsk_a", "depends_on": ["z"]},
            "b": {"task": "task_b", "depends_on": ["c"]},
            "c": {"task": "task_c", "depends_on": ["b"]},
        },
    }
    problem = await pod.refused("POST", "/workflow", 422, json=definition)
    assert {item.code for item in problem.errors} == {"unknown-field", "unknown-function", "unknown-dependency", "cycle"}
    assert 'did you mean "task_a"?' in [item.remedy for item in problem.errors]
    assert any("b → c → b" in item.message for item in problem.errors)
    assert problem.detail.endswith("; 3 more problems")


async def test_a_problem_document_stays_small_whatever_was_sent(pod: Pod) -> None:
    definition = {"steps": [{"type": "parallel", "tasks": [f"{'x' * 100}{number}" for number in range(5_000)]}]}
    response = await pod.client.post("/workflow", json=definition)
    assert response.status_code == 422
    assert len(response.content) < 100_000
    long = await pod.client.post("/workflow", json={"tasks": {"y" * 1_000_000: {"task": "task_a"}}})
    assert len(long.content) < 20_000
