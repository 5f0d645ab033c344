"""The client: failing over, asking again, and what refusals become."""

from __future__ import annotations

import httpx
import pytest
from pydantic import JsonValue

from engine.definition import WorkflowDefinition
from engine.errors import ConfigError, Problem
from engine.states import RunState, TaskState
from peerflow.client import ApiError, Client, PodUnreachable, WaitTimedOut
from peerflow.connection import parse_addresses
from tests.support.fake_pod import RUN_ID, FakePods, FakeTime, problem_response, run_json, task_json

A, B = "http://a.example:8000", "http://b.example:8001"
RUN = f"GET /runs/{RUN_ID}"
ACCEPTED = httpx.Response(202, json={"message": "Workflow received", "run_id": RUN_ID, "status": "running", "durability": "aof-everysec"})


@pytest.fixture
def pods() -> FakePods:
    return FakePods()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def client_of(pods: FakePods, time: FakeTime, urls: str = A, patience_seconds: float = 0.0) -> Client:
    transport = httpx.MockTransport(pods.handle)
    return Client(urls, patience_seconds=patience_seconds, transport=transport, clock=time.clock, sleep=time.sleep)


def test_request_goes_to_the_next_address_where_one_refuses_the_connection(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, run_json())
    pods.down.add(A)
    assert client_of(pods, time, f"{A}, {B}/").run(RUN_ID).status is RunState.RUNNING
    assert [request.url.host for request in pods.requests] == ["a.example", "b.example"]


def test_address_that_answered_last_is_asked_first(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, run_json())
    pods.down.add(A)
    client = client_of(pods, time, f"{A},{B}")
    client.run(RUN_ID)
    pods.down.clear()
    client.run(RUN_ID)
    assert [request.url.host for request in pods.requests] == ["a.example", "b.example", "b.example"]


def test_pod_that_has_lost_redis_is_passed_over(pods: FakePods, time: FakeTime) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "a.example":
            return problem_response(503, "storage-unavailable", "cannot reach redis")
        return httpx.Response(200, json=run_json())

    pods.on(RUN, answer)
    assert client_of(pods, time, f"{A},{B}").run(RUN_ID).run_id == RUN_ID


def test_refusal_that_another_pod_would_repeat_is_raised_at_once(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, problem_response(404, "run-not-found", "run x does not exist, or has expired"))
    with pytest.raises(ApiError, match="does not exist") as caught:
        client_of(pods, time, f"{A},{B}", patience_seconds=30).run(RUN_ID)
    assert (caught.value.status, caught.value.type) == (404, "urn:peerflow:problem:run-not-found")
    assert len(pods.requests) == 1


def test_broken_connection_is_tried_again_on_the_same_address(pods: FakePods, time: FakeTime) -> None:
    def break_once(request: httpx.Request) -> httpx.Response:
        if len(pods.requests) == 1:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return httpx.Response(200, json=run_json())

    pods.on(RUN, break_once)
    assert client_of(pods, time).run(RUN_ID).run_id == RUN_ID
    assert time.slept == []


def test_silence_of_all_pods_names_each_address_with_its_cause(pods: FakePods, time: FakeTime) -> None:
    pods.down.add(A)
    pods.broken.add(B)
    with pytest.raises(PodUnreachable) as caught:
        client_of(pods, time, f"{A},{B}").run(RUN_ID)
    assert caught.value.causes == {A: "connection refused", B: "connection broken"}
    assert time.slept == []


def test_patience_asks_again_with_growing_pauses_until_a_pod_is_back(pods: FakePods, time: FakeTime) -> None:
    silences: list[str] = []
    pods.down.add(A)
    pods.on(RUN, run_json())
    client = client_of(pods, time, patience_seconds=10)
    client.connection.on_silence = lambda error: silences.append(str(error)) or (pods.down.clear() if len(silences) == 4 else None)
    assert client.run(RUN_ID).run_id == RUN_ID
    assert time.slept == sorted(time.slept)
    assert time.slept[0] == 0.2
    assert max(time.slept) <= 1.0
    assert len(silences) == len(time.slept) == 4


def test_patience_ends(pods: FakePods, time: FakeTime) -> None:
    pods.down.add(A)
    with pytest.raises(PodUnreachable):
        client_of(pods, time, patience_seconds=5).run(RUN_ID)
    assert 3.5 < time.now <= 5


def test_submission_is_repeated_under_one_idempotency_key(pods: FakePods, time: FakeTime) -> None:
    pods.broken.add(A)
    pods.on("POST /workflow", ACCEPTED)
    submitted = client_of(pods, time, f"{A},{B}").submit({"steps": [{"type": "sequential", "tasks": ["task_a"]}]})
    assert (submitted.run_id, submitted.durability) == (RUN_ID, "aof-everysec")
    keys = [request.headers["Idempotency-Key"] for request in pods.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert pods.requests[0].headers["Content-Type"] == "application/json"


def test_two_submissions_without_a_key_are_two_runs(pods: FakePods, time: FakeTime) -> None:
    pods.on("POST /workflow", ACCEPTED)
    client = client_of(pods, time)
    client.submit(b"{}")
    client.submit(b"{}")
    assert len({request.headers["Idempotency-Key"] for request in pods.requests}) == 2


def test_own_idempotency_key_is_sent_as_it_is(pods: FakePods, time: FakeTime) -> None:
    pods.on("POST /workflow", ACCEPTED)
    client_of(pods, time).submit(b"{}", idempotency_key="order-17")
    assert pods.requests[0].headers["Idempotency-Key"] == "order-17"


def test_definition_goes_out_as_a_model_a_mapping_or_bytes(pods: FakePods, time: FakeTime) -> None:
    document: JsonValue = {"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}]}
    pods.on("POST /workflow", ACCEPTED)
    client = client_of(pods, time)
    client.submit({"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}]})
    assert pods.body() == document
    client.submit(WorkflowDefinition.model_validate_json('{"steps":[{"type":"parallel","tasks":["task_a","task_b"]}]}'))
    assert pods.body() == document
    client.submit(b' {"kept": "as it is"} ')
    assert pods.requests[-1].content == b' {"kept": "as it is"} '


def test_problems_of_a_definition_are_kept_with_pointer_and_remedy(pods: FakePods, time: FakeTime) -> None:
    error: JsonValue = {
        "code": "cycle",
        "pointer": "/tasks/a/depends_on/0",
        "message": "cycle: a → b → a",
        "remedy": "remove one of these dependencies",
    }
    pods.on("POST /workflow", problem_response(422, "definition-invalid", "cycle: a → b → a", error))
    with pytest.raises(ApiError) as caught:
        client_of(pods, time).plan(b"{}")
    assert caught.value.problems == (Problem("cycle", "/tasks/a/depends_on/0", "cycle: a → b → a", "remove one of these dependencies"),)
    assert str(pods.requests[0].url) == f"{A}/workflow?dry_run=true"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nginx</html>"),
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json={"status": "UP"}),
        httpx.Response(301, headers={"Location": "https://elsewhere.example/"}),
        httpx.Response(500, json=["?"]),
    ],
)
def test_other_servers_are_said_to_be_no_pods(pods: FakePods, time: FakeTime, answer: httpx.Response) -> None:
    pods.on(RUN, answer)
    with pytest.raises(ApiError, match="not like a peerflow pod"):
        client_of(pods, time).run(RUN_ID)


def test_fields_of_a_newer_pod_are_kept(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, run_json(fairness_key="eu"))
    assert client_of(pods, time).run(RUN_ID).model_dump(mode="json")["fairness_key"] == "eu"


def test_tasks_are_fetched_page_by_page(pods: FakePods, time: FakeTime) -> None:
    pods.on(f"{RUN}/tasks", {"tasks": [task_json("a")], "next_cursor": "x"}, {"tasks": [task_json("b")], "next_cursor": None})
    assert [task.id for task in client_of(pods, time).tasks(RUN_ID, status=TaskState.SUCCEEDED)] == ["a", "b"]
    assert [dict(request.url.params) for request in pods.requests] == [
        {"status": "succeeded", "limit": "500"},
        {"status": "succeeded", "cursor": "x", "limit": "500"},
    ]


def test_events_end_at_the_first_page_that_leads_nowhere(pods: FakePods, time: FakeTime) -> None:
    event: JsonValue = {"seq": 1, "at": "2026-01-01T00:00:00Z", "type": "run-created"}
    pods.on(f"{RUN}/events", {"events": [event], "next_after": 1}, {"events": [], "next_after": 1})
    assert [event.seq for event in client_of(pods, time).events(RUN_ID)] == [1]
    assert [request.url.params["after"] for request in pods.requests] == ["0", "1"]


def test_ids_cannot_leave_their_place_in_the_path(pods: FakePods, time: FakeTime) -> None:
    with pytest.raises(ApiError):
        client_of(pods, time).task("../pods", "a/b?c")
    assert pods.requests[0].url.raw_path == b"/runs/..%2Fpods/tasks/a%2Fb%3Fc"
    with pytest.raises(ApiError):
        client_of(pods, time).run("")
    assert pods.requests[1].url.path == "/runs/-"


def test_readiness_of_a_pod_that_is_not_ready_is_an_answer(pods: FakePods, time: FakeTime) -> None:
    pods.on("GET /readyz", httpx.Response(503, json={"ready": False, "reason": "redis does not answer"}))
    assert client_of(pods, time).readiness().reason == "redis does not answer"


def test_wait_returns_the_finished_run(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, run_json(), run_json(), run_json("succeeded"))
    run = client_of(pods, time).wait(RUN_ID)
    assert run.succeeded
    assert run.done == run.total == 3
    assert len(time.slept) == 2


def test_wait_gives_up_in_time_and_says_how_far_the_run_got(pods: FakePods, time: FakeTime) -> None:
    pods.on(RUN, run_json())
    with pytest.raises(WaitTimedOut, match="still running after 3 s \\(0 of 3 tasks done\\)"):
        client_of(pods, time).wait(RUN_ID, timeout_seconds=3)
    assert time.now <= 3


@pytest.mark.parametrize("text", ["localhost:8000", "ftp://x", "http://", "http://a:port", "", " , "])
def test_wrong_addresses_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"one looks like http://127\.0\.0\.1:8000"):
        parse_addresses(text)


def test_addresses_lose_their_last_slash_and_their_doubles() -> None:
    assert parse_addresses("http://a/, http://b:1 ,http://a") == ("http://a", "http://b:1")


def test_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        asked.append(type(getattr(transport, "_pool", None)).__name__)
        return httpx.Response(200, json=run_json())

    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    with Client("http://127.0.0.1:8000") as client:
        client.run(RUN_ID)
    with Client("http://pods.example") as client:
        client.run(RUN_ID)
    assert asked == ["ConnectionPool", "HTTPProxy"]
