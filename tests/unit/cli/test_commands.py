"""Commands end to end in one process: what is printed, where, and the exit status."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from tests.support.fake_pod import RUN_ID, FakePods, problem_response, run_json, task_json
from tests.unit.cli.conftest import Cli

RUN = f"GET /runs/{RUN_ID}"
STEPS = '{"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}]}'
PLAN: JsonValue = {"tasks": 2, "edges": 1, "order": ["a", "b"], "critical_path": ["a", "b"]}
ACCEPTED = httpx.Response(202, json={"message": "Workflow received", "run_id": RUN_ID, "status": "running", "durability": "aof-everysec"})


@pytest.fixture
def steps(tmp_path: Path) -> str:
    file = tmp_path / "steps.json"
    file.write_text(STEPS)
    return str(file)


def finished_run(pods: FakePods, status: str, *tasks: dict[str, JsonValue]) -> None:
    counts: JsonValue = {"succeeded": 3} if status == "succeeded" else {"succeeded": 2, "failed": 1}
    pods.on(RUN, run_json(), run_json(status, counts=counts, duration_seconds=1.25, finished_at="2026-01-01T00:00:01.25Z"))
    pods.on(f"{RUN}/tasks", {"tasks": [*tasks], "next_cursor": None})


def test_submit_prints_the_run_and_how_to_follow_it(cli: Cli, pods: FakePods, steps: str) -> None:
    pods.on("POST /workflow", ACCEPTED)
    ended = cli("submit", steps)
    assert ended.status == 0
    assert f"run {RUN_ID} running (durability: aof-everysec)" in ended.out
    assert f"peerflow status {RUN_ID} --wait" in ended.out
    assert pods.requests[0].content == STEPS.encode()


def test_submit_reads_yaml_from_standard_input(cli: Cli, pods: FakePods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.on("POST /workflow", ACCEPTED)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"steps:\n- type: parallel\n  tasks: [task_a, task_b]\n")))
    assert cli("submit", "-", "--idempotency-key", "k1", "--json").status == 0
    assert pods.body() == json.loads(STEPS)
    assert pods.requests[0].headers["Idempotency-Key"] == "k1"


@pytest.mark.parametrize(("end", "status"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_watched_run_decides_the_exit_status(cli: Cli, pods: FakePods, steps: str, end: str, status: int) -> None:
    pods.on("POST /workflow", ACCEPTED)
    finished_run(pods, end, task_json("a"))
    ended = cli("submit", steps, "--watch")
    assert ended.status == status
    assert f"{end}: 3 tasks" in ended.out


@pytest.mark.parametrize(("end", "status"), [("succeeded", 0), ("failed", 1)])
def test_waiting_for_a_run_decides_the_exit_status(cli: Cli, pods: FakePods, end: str, status: int) -> None:
    finished_run(pods, end, task_json("a"))
    assert cli("status", RUN_ID, "--wait").status == status


def test_watched_run_as_json_is_one_document(cli: Cli, pods: FakePods, steps: str) -> None:
    pods.on("POST /workflow", ACCEPTED)
    finished_run(pods, "failed", task_json("a"))
    ended = cli("submit", steps, "--watch", "--json")
    assert ended.status == 1
    assert json.loads(ended.out)["status"] == "failed"


def test_lines_without_a_terminal_tell_each_change_and_each_failure_once(cli: Cli, pods: FakePods) -> None:
    error: JsonValue = {"type": "ValueError", "message": "no such day", "traceback": None}
    finished_run(pods, "failed", task_json("a"), task_json("b", "failed", error=error, attempts=2, result=None))
    pods.on(f"{RUN}/tasks", lambda request: page_of(request, error))
    out = cli("status", RUN_ID, "--wait").out
    assert "0/3 done, 1 running" in out
    assert "3/3 done, 1 failed" in out
    assert out.count("b failed after 2 attempts: ValueError: no such day") == 1
    assert "\x1b" not in out


def page_of(request: httpx.Request, error: JsonValue) -> httpx.Response:
    failed = task_json("b", "failed", error=error, attempts=2, result=None)
    of_state: dict[str | None, list[JsonValue]] = {"failed": [failed], None: [task_json("a"), failed]}
    return httpx.Response(200, json={"tasks": of_state.get(request.url.params.get("status"), []), "next_cursor": None})


def test_refused_definition_is_printed_with_file_line_pointer_message_and_remedy(cli: Cli, pods: FakePods, tmp_path: Path) -> None:
    file = tmp_path / "dag.yaml"
    file.write_text("tasks:\n  a:\n    task: nope\n")
    errors: list[JsonValue] = [
        {"code": "unknown-function", "pointer": "/tasks/a/task", "message": 'the function "nope" is not known', "remedy": "use echo"},
        {"code": "limit-exceeded", "pointer": "", "message": "too many", "remedy": "use fewer"},
    ]
    pods.on("POST /workflow", problem_response(422, "definition-invalid", "two problems", *errors))
    ended = cli("submit", str(file))
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.splitlines() == [
        f"error: {file}: the definition is refused (2 problems)",
        f"  {file}:1",
        "    too many",
        "    → use fewer",
        f"  {file}:3  /tasks/a/task",
        '    the function "nope" is not known',
        "    → use echo",
    ]
    assert "Traceback" not in ended.err


def test_refusal_as_json_has_the_line(cli: Cli, pods: FakePods, steps: str) -> None:
    error: JsonValue = {"code": "x", "pointer": "/steps/0/tasks/1", "message": "m", "remedy": "r"}
    pods.on("POST /workflow", problem_response(422, "definition-invalid", "one problem", error))
    ended = cli("validate", steps, "--json")
    assert ended.status == 2
    problem = {"code": "x", "pointer": "/steps/0/tasks/1", "line": 1, "message": "m", "remedy": "r"}
    assert json.loads(ended.out)["error"]["problems"] == [problem]


def test_refusal_that_is_not_about_the_file_gives_the_remedy_once(cli: Cli, pods: FakePods, steps: str) -> None:
    error: JsonValue = {
        "code": "idempotency-conflict",
        "pointer": "header/Idempotency-Key",
        "message": "key used",
        "remedy": "use a new key",
    }
    pods.on("POST /workflow", problem_response(422, "idempotency-conflict", "key used", error))
    ended = cli("submit", steps)
    assert ended.status == 2
    assert ended.err.splitlines() == ["error: key used", "  → use a new key"]


def test_refused_connection_names_the_address_and_the_command_that_starts_a_pod(cli: Cli, pods: FakePods, steps: str) -> None:
    pods.down |= {"http://127.0.0.1:8123", "http://pods.example:9000"}
    ended = cli("submit", steps, "--url", "http://pods.example:9000,http://127.0.0.1:8123")
    assert ended.status == 3
    assert "http://127.0.0.1:8123: connection refused" in ended.err
    assert "http://pods.example:9000: connection refused" in ended.err
    assert "peerflow serve --port 8123" in ended.err


def test_address_comes_from_the_environment(cli: Cli, pods: FakePods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_URL", "http://pods.example:9000")
    pods.on("GET /pods", {"pods": []})
    assert cli("pods").status == 0
    assert pods.asked == ["GET http://pods.example:9000/pods"]


def test_wrong_address_is_refused_before_anything_is_asked(cli: Cli, pods: FakePods) -> None:
    ended = cli("runs", "--url", "localhost:8000")
    assert ended.status == 2
    assert "'localhost:8000' is no address of a pod" in ended.err
    assert pods.requests == []


def test_missing_file_is_named(cli: Cli, tmp_path: Path) -> None:
    ended = cli("submit", str(tmp_path / "none.json"))
    assert ended.status == 2
    assert "none.json: no such file or directory" in ended.err


def test_wrong_option_is_a_usage_error(cli: Cli) -> None:
    assert cli("status", RUN_ID, "--what").status == 2
    assert cli("nonsense").status == 2


def test_dry_run_shows_order_and_critical_path_and_starts_nothing(cli: Cli, pods: FakePods, steps: str) -> None:
    pods.on("POST /workflow", PLAN)
    ended = cli("submit", steps, "--dry-run")
    assert ended.status == 0
    assert "2 tasks, 1 dependency" in ended.out
    assert "critical path (2): a → b" in ended.out
    assert pods.requests[0].url.params["dry_run"] == "true"


def test_validate_asks_a_pod(cli: Cli, pods: FakePods, steps: str) -> None:
    pods.on("POST /workflow", PLAN)
    ended = cli("validate", steps)
    assert (ended.status, ended.out.split("/")[-1]) == (0, "steps.json: valid, 2 tasks, 1 dependency\n")


def test_validate_offline_asks_nobody_and_finds_the_same_problems(cli: Cli, pods: FakePods, tmp_path: Path) -> None:
    file = tmp_path / "cycle.json"
    file.write_text('{"tasks": {\n"a": {"task": "echo", "depends_on": ["b"]},\n"b": {"task": "echo", "depends_on": ["a"]}}}')
    ended = cli("validate", "--offline", str(file))
    assert ended.status == 2
    assert "a → b → a" in ended.err or "b → a → b" in ended.err
    assert f"{file}:2" in ended.err
    file.write_text(STEPS)
    assert json.loads(cli("validate", "--offline", str(file), "--json").out)["valid"] is True
    assert pods.requests == []


def test_status_shows_the_run_its_tasks_results_and_errors(cli: Cli, pods: FakePods) -> None:
    error: JsonValue = {"type": "ValueError", "message": "no such day", "traceback": "…"}
    pods.on(RUN, run_json("failed", counts={"succeeded": 1, "failed": 1, "skipped": 1}, reason="task b failed", duration_seconds=2.5))
    tasks = [task_json("a", result={"n": 1}), task_json("b", "failed", error=error), task_json("c", "skipped", reason="b failed")]
    pods.on(f"{RUN}/tasks", {"tasks": [*tasks], "next_cursor": None})
    out = cli("status", RUN_ID).out
    for text in (
        "example failed",
        "1 succeeded, 1 failed, 1 skipped, in 2.50 s",
        "task b failed",
        '{"n": 1}',
        "ValueError: no such day",
        "b failed",
    ):
        assert text in out


def test_status_of_a_large_run_says_that_it_shows_a_part(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json(total=5000, counts={"pending": 5000}))
    pods.on(f"{RUN}/tasks", {"tasks": [task_json(f"t{n}", "pending") for n in range(100)], "next_cursor": "x"})
    ended = cli("status", RUN_ID)
    assert "t49" in ended.out
    assert "t50" not in ended.out
    assert "50 of 5,000 tasks" in ended.err


def test_escape_sequences_from_a_run_do_not_reach_the_terminal(cli: Cli, pods: FakePods) -> None:
    evil = "\x1b[2J\x1b]0;pwned\x07[red]x[/red]\r\n\u202e"
    pods.on(RUN, run_json(name=evil, reason=evil, labels={"k": evil}))
    pods.on(f"{RUN}/tasks", {"tasks": [task_json("a", result=evil, pod=evil)], "next_cursor": None})
    out = cli("status", RUN_ID).out
    assert not any(character in out for character in "\x1b\x07\r\u202e")
    assert "[red]x[/red]" in out


def test_runs_are_listed_and_a_closed_list_says_what_opens_it(cli: Cli, pods: FakePods) -> None:
    pods.on("GET /runs", {"runs": [run_json("succeeded", duration_seconds=75.0)], "next_cursor": None})
    out = cli("runs", "--status", "succeeded", "--label", "team=data").out
    assert RUN_ID in out
    assert "1 min 15 s" in out
    assert dict(pods.requests[0].url.params) == {"status": "succeeded", "label": "team=data", "limit": "100"}
    error: JsonValue = {"code": "list-closed", "pointer": "", "message": "it is closed", "remedy": "start the pod with DEBUG=true"}
    pods.on("GET /runs", problem_response(403, "list-closed", "it is closed", error))
    ended = cli("runs")
    assert (ended.status, ended.err.splitlines()) == (2, ["error: it is closed", "  → start the pod with DEBUG=true"])


def test_events_tasks_and_pods_are_tables_or_json(cli: Cli, pods: FakePods) -> None:
    event: JsonValue = {"seq": 7, "at": "2026-01-01T00:00:00.500Z", "type": "task-claimed", "task": "a", "attempt": 1, "pod": "p1"}
    pods.on(f"{RUN}/events", {"events": [event], "next_after": None})
    assert "task-claimed" in cli("events", RUN_ID, "--after", "6").out
    assert json.loads(cli("events", RUN_ID, "--json").out)[0]["seq"] == 7
    schema: JsonValue = {"type": "object", "properties": {"value": {}}}
    pods.on("GET /tasks", {"tasks": [{"name": "echo", "kind": "async", "description": "Says it.", "parameters": schema, "pods": 3}]})
    assert "echo" in cli("tasks").out
    assert json.loads(cli("tasks", "--json").out)[0]["pods"] == 3
    pods.on("GET /pods", {"pods": [{"pod_id": "p1", "host": "h", "state": "alive", "concurrency": 100, "running": 2}]})
    assert "2/100" in cli("pods").out
    assert json.loads(cli("pods", "--json").out)[0]["pod_id"] == "p1"


def test_who_did_what_is_a_table_or_json(cli: Cli, pods: FakePods) -> None:
    entry: JsonValue = {
        "at": "2026-01-01T00:00:00.500Z", "caller": "ann", "tenant": "blue", "action": "submit", "run_id": RUN_ID, "outcome": "created",
    }  # fmt: skip
    pods.on("GET /access", {"entries": [entry], "next_cursor": None})
    out = cli("access", "--tenant", "blue").out
    assert all(word in out for word in ("ann", "blue", "submit", RUN_ID, "created"))
    assert dict(pods.requests[0].url.params) == {"tenant": "blue", "limit": "100"}
    assert json.loads(cli("access", "--json").out)[0]["caller"] == "ann"
    pods.on("GET /access", {"entries": [entry, entry, entry], "next_cursor": "x"})
    assert "more entries exist than 2" in cli("access", "-n", "2").err
    pods.on("GET /access", {"entries": [], "next_cursor": None})
    assert "nothing was done" in cli("access").out


def test_events_name_the_caller(cli: Cli, pods: FakePods) -> None:
    event: JsonValue = {"seq": 1, "at": "2026-01-01T00:00:00.500Z", "type": "run_cancelled", "detail": "wrong day", "caller": "ann"}
    created: JsonValue = {"seq": 2, "at": "2026-01-01T00:00:00.500Z", "type": "run_created", "caller": "bob"}
    pods.on(f"{RUN}/events", {"events": [event, created], "next_after": None})
    out = cli("events", RUN_ID).out
    assert "by ann: wrong day" in out
    assert "by bob" in out


def test_cancel_sends_the_reason_and_a_finished_run_refuses(cli: Cli, pods: FakePods) -> None:
    pods.on(f"POST /runs/{RUN_ID}/cancel", httpx.Response(202, json={"run_id": RUN_ID, "status": "cancelled"}))
    assert "cancelled" in cli("cancel", RUN_ID, "--reason", "not needed").out
    assert pods.body() == {"reason": "not needed"}
    pods.on(f"POST /runs/{RUN_ID}/cancel", problem_response(409, "run-finished", "run x has already finished: succeeded"))
    ended = cli("cancel", RUN_ID)
    assert (ended.status, ended.err) == (2, "error: run x has already finished: succeeded\n")
    assert pods.requests[-1].content == b""


def test_version_and_help_need_no_pod(cli: Cli, pods: FakePods) -> None:
    assert cli("--version").out.startswith("peerflow ")
    text = cli("--help").out
    for command in ("serve", "submit", "validate", "runs", "status", "events", "cancel", "tasks", "pods", "doctor"):
        assert command in text
    assert pods.requests == []


def test_help_of_serve_names_what_each_option_is_without_it(cli: Cli) -> None:
    text = cli("serve", "--help").out
    for default in ("127.0.0.1", "8000", "an embedded Valkey", "PEERFLOW_TASKS", "100"):
        assert default in text


def test_lost_attempts_are_told_as_part_of_all_attempts(cli: Cli, pods: FakePods) -> None:
    finished_run(pods, "succeeded", task_json("a", attempts=3, lost=2))
    assert "3 (2 lost)" in cli("status", RUN_ID, "--wait").out


def test_stopped_watching_says_that_the_run_goes_on(cli: Cli, pods: FakePods) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    pods.on(RUN, interrupt)
    ended = cli("status", RUN_ID, "--wait")
    assert ended.status == 130
    assert f"the run goes on: peerflow status {RUN_ID} --wait" in ended.err


def test_status_says_why_nothing_of_a_run_runs(cli: Cli, pods: FakePods) -> None:
    pods.on(RUN, run_json(counts={"ready": 1, "pending": 2}, reason="nothing runs: no pod registers rare (task a)"))
    pods.on(f"{RUN}/tasks", {"tasks": [task_json("a", "ready", task="rare", reason="no pod registers rare")], "next_cursor": None})
    out = cli("status", RUN_ID).out
    assert "  nothing runs: no pod registers rare (task a)\n" in out
    [row] = [line for line in out.splitlines() if line.startswith("a ")]
    assert row.endswith("no pod registers rare")
