"""`GET /runs/{run_id}/explain`: its shape, its pages, its refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.explain import Interval
from engine.reasons import Reason
from engine.states import TaskState
from peerflow.api.explain_models import EXPLAIN_EXAMPLE, Explanation
from storage.explained import Link, ReasonNow, TaskExplanation
from storage.views import NewRun, PodView
from tests.support.canned_store import CREATED_AT_MS, RUN_ID
from tests.unit.api.conftest import Pod

PATH = f"/runs/{RUN_ID}/explain"
BUSY = PodView("p1", "h", "0", "alive", CREATED_AT_MS, CREATED_AT_MS + 1_000, 4, 4, ("default",), ("task_a",))


def explanation(task_id: str, **fields: Any) -> TaskExplanation:
    given: dict[str, Any] = {
        "index": 0,
        "id": task_id,
        "function": "task_a",
        "queue": "default",
        "state": TaskState.READY,
        "now": ReasonNow(Reason.POD_CAPACITY, "all slots are taken: p1 4/4", CREATED_AT_MS + 22_000, pods=(BUSY,)),
        "chain": (),
        "chain_length": 0,
        "intervals": (
            Interval(Reason.PARENTS, CREATED_AT_MS, CREATED_AT_MS + 22_000),
            Interval(Reason.POD_CAPACITY, CREATED_AT_MS + 22_000, None),
        ),
        "left_out": 0,
        "waited_ms": {Reason.POD_CAPACITY: 290_000, Reason.PARENTS: 22_000},
        "summary": "waited 312 s: 290 s for a free slot, 22 s for parents",
    }
    return TaskExplanation(**given | fields)


@pytest.fixture(autouse=True)
def run(pod: Pod) -> None:
    definition = WorkflowDefinition.model_validate({"tasks": {"a": {"task": "task_a"}}})
    pod.store.put(NewRun(definition, compile_definition(definition)))
    pod.store.explanations = [explanation("a"), explanation("b"), explanation("c")]


async def test_a_task_is_explained_with_its_reason_its_pods_and_its_history(pod: Pod) -> None:
    pod.store.explanations = [explanation("a")]
    answer = await pod.get(PATH)
    Explanation.model_validate_json(json.dumps(answer))
    assert (answer["run_id"], answer["status"], answer["at"]) == (RUN_ID, "running", "2026-01-01T00:05:12.000Z")
    [task] = answer["tasks"]
    assert task["now"] == {
        "code": "pod_capacity",
        "text": "all slots are taken: p1 4/4",
        "since": "2026-01-01T00:00:22.000Z",
        "until": None,
        "parents": [],
        "open_parents": 0,
        "pods": [{"pod_id": "p1", "state": "alive", "running": 4, "concurrency": 4, "last_seen_at": "2026-01-01T00:00:01.000Z"}],
        "pod": None,
        "attempt": None,
    }
    assert [(part["code"], part["to"], part["seconds"]) for part in task["intervals"]] == [
        ("parents", "2026-01-01T00:00:22.000Z", 22.0),
        ("pod_capacity", None, 290.0),
    ]
    assert list(task["waited_seconds"].items()) == [("pod_capacity", 290.0), ("parents", 22.0)]
    assert task["summary"] == "waited 312 s: 290 s for a free slot, 22 s for parents"


async def test_a_chain_is_told_from_the_parent_to_the_root_cause(pod: Pod) -> None:
    chain = (
        Link("b", TaskState.PENDING, Reason.PARENTS, "waits for its parents"),
        Link("a", TaskState.READY, Reason.NO_CAPABLE_POD, "no pod registers x"),
    )
    now = ReasonNow(Reason.PARENTS, "waits for 1 task: b", CREATED_AT_MS, parents=("b",), open_parents=1)
    pod.store.explanations = [explanation("c", state=TaskState.PENDING, now=now, chain=chain, chain_length=2, left_out=3)]
    answer = await pod.get(PATH)
    Explanation.model_validate_json(json.dumps(answer))
    [task] = answer["tasks"]
    assert task["chain"][-1] == {"id": "a", "status": "ready", "code": "no_capable_pod", "text": "no pod registers x"}
    assert (task["chain_length"], task["intervals_left_out"], task["now"]["parents"]) == (2, 3, ["b"])


async def test_pages_are_asked_for_with_limit_and_after(pod: Pod) -> None:
    pod.store.next_start = 2
    answer = await pod.get(f"{PATH}?limit=2&unended=true")
    assert (len(answer["tasks"]), answer["next_after"]) == (2, 2)
    assert pod.store.explain_arguments == (0, 2, True)
    await pod.get(f"{PATH}?after=2")
    assert pod.store.explain_arguments == (2, 100, False)


async def test_one_task_is_asked_for_by_its_id(pod: Pod) -> None:
    answer = await pod.get(f"{PATH}?task=b")
    assert [task["id"] for task in answer["tasks"]] == ["b"]
    assert answer["next_after"] is None


@pytest.mark.parametrize("task", ["z", "no%20id", "%C3%BC"])
async def test_an_unknown_task_is_refused(pod: Pod, task: str) -> None:
    document = await pod.refused("GET", f"{PATH}?task={task}", 404)
    assert (document.type, document.errors[0].pointer) == ("urn:peerflow:problem:task-not-found", "query/task")


@pytest.mark.parametrize("path", ["/runs/nonsense/explain", f"/runs/{RUN_ID[:-1]}0/explain"])
async def test_an_unknown_run_is_refused(pod: Pod, path: str) -> None:
    assert (await pod.refused("GET", path, 404)).type == "urn:peerflow:problem:run-not-found"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("task=a&after=1", "query/task"),
        ("task=a&unended=true", "query/task"),
        ("after=-1", "query/after"),
        ("limit=0", "query/limit"),
        ("unended=perhaps", "query/unended"),
        ("tasks=a", "query/tasks"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(pod: Pod, query: str, pointer: str) -> None:
    assert (await pod.refused("GET", f"{PATH}?{query}", 400)).errors[0].pointer == pointer


async def test_the_example_of_the_documentation_has_the_shape_of_the_answer(pod: Pod) -> None:
    Explanation.model_validate_json(json.dumps(EXPLAIN_EXAMPLE))
    document = await pod.get("/openapi.json")
    [content] = document["paths"]["/runs/{run_id}/explain"]["get"]["responses"]["200"]["content"].values()
    assert content["example"] == EXPLAIN_EXAMPLE
    assert content["schema"]["$ref"].endswith("/Explanation")


async def test_a_run_of_which_nothing_runs_says_why_wherever_it_is_read(pod: Pod) -> None:
    pod.store.stuck = "nothing runs: no pod registers rare (task a)"
    assert (await pod.get(f"/runs/{RUN_ID}"))["reason"] == pod.store.stuck
    assert (await pod.get(f"/workflow_status/{RUN_ID}"))["reason"] == pod.store.stuck
