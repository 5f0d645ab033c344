"""What a watcher sees: bounded by the terminal's height, complete in its counts, quiet while nothing changes."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from rich.console import Console

from engine.states import TaskState
from peerflow.answers import Run, Task
from peerflow.cli import follow
from peerflow.cli.live_view import Bar, LiveView, task_rows
from peerflow.cli.output import clean, duration
from peerflow.cli.plain_view import PlainView
from peerflow.cli.snapshot import Snapshot
from peerflow.cli.window import Window
from peerflow.client import Client, PodUnreachable
from tests.support.fake_pod import RUN_ID, FakePods, FakeTime, run_json, task_json

NOW = datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
RUN = f"GET /runs/{RUN_ID}"


def run_with(**counts: int) -> Run:
    return Run.model_validate(run_json(counts={**counts}, total=sum(counts.values())))


def tasks_in(status: str, count: int, **fields: JsonValue) -> list[Task]:
    return [Task.model_validate(task_json(f"{status}-{number}", status, **fields)) for number in range(count)]


def texts(snapshot: Snapshot, room: int) -> list[str]:
    return [" | ".join(part.plain for part in row) for row in task_rows(snapshot, room, NOW)]


def test_running_tasks_that_fit_have_a_row_each_with_their_age_and_pod() -> None:
    snapshot = Snapshot(run_with(running=2), tasks_in("running", 2))
    assert texts(snapshot, 10) == ["running-0  (task_a) | 5.00 s | pod-1", "running-1  (task_a) | 5.00 s | pod-1"]


def test_running_tasks_that_do_not_fit_are_grouped_by_function() -> None:
    shown = tasks_in("running", 15, task="align") + tasks_in("running", 5, task="merge")
    assert texts(Snapshot(run_with(running=20), shown), 10) == ["align × 15 | longest 5.00 s | ", "merge × 5 | longest 5.00 s | "]


def test_group_says_how_many_more_run_than_were_asked_for() -> None:
    snapshot = Snapshot(run_with(running=1000), tasks_in("running", 200, task="align"))
    assert texts(snapshot, 10) == ["align × 200 and 800 others | longest 5.00 s | "]


def test_failures_and_waits_have_their_reason_and_leave_room_for_what_runs() -> None:
    error: JsonValue = {"type": "ValueError", "message": "no such day", "traceback": None}
    soon = (NOW + timedelta(seconds=3)).isoformat()
    snapshot = Snapshot(
        run_with(running=1, waiting=1, failed=30),
        tasks_in("running", 1),
        tasks_in("waiting", 1, error=error, retry_at=soon, attempts=2),
        tasks_in("failed", 30, error=error, duration_seconds=0.25),
    )
    rows = texts(snapshot, 9)
    assert rows[0] == "failed-0  (task_a) | 250 ms | ValueError: no such day"
    assert rows[2] == "… 28 more failed |  | "
    assert rows[3].startswith("waiting-0  (task_a) | in 3.00 s | attempt 2 ValueError: no such day, again at ")
    assert rows[4].startswith("running-0")


def test_ready_tasks_that_nobody_can_run_have_a_row_with_their_reason() -> None:
    stuck = tasks_in("ready", 2, ready_at="2026-01-01T00:00:01Z", reason="no pod registers task_a")
    snapshot = Snapshot(run_with(ready=3, running=1), tasks_in("running", 1), ready=[*stuck, *tasks_in("ready", 1)])
    assert texts(snapshot, 9) == [
        "ready-0  (task_a) | 4.00 s | no pod registers task_a",
        "ready-1  (task_a) | 4.00 s | no pod registers task_a",
        "running-0  (task_a) | 5.00 s | pod-1",
    ]


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.integers(1, 40), st.lists(st.sampled_from("abcdefgh"), min_size=1))
def test_rows_never_exceed_the_room(running: int, waiting: int, failed: int, room: int, functions: list[str]) -> None:
    shown = [
        task.model_copy(update={"task": functions[n % len(functions)]}) for n, task in enumerate(tasks_in("running", min(running, 50)))
    ]
    snapshot = Snapshot(
        run_with(running=running, waiting=waiting, failed=failed),
        shown,
        tasks_in("waiting", min(waiting, 50)),
        tasks_in("failed", min(failed, 50)),
        tasks_in("ready", failed, reason="no pod registers x"),
    )
    assert len(list(task_rows(snapshot, room, NOW))) <= room


@given(
    st.integers(1, 200),
    st.dictionaries(st.sampled_from(["succeeded", "failed", "running", "pending", "skipped", "cancelled"]), st.integers(0, 10_000)),
)
def test_bar_fills_exactly_its_width(cells: int, counts: dict[str, int]) -> None:
    assert sum(width for _, width in Bar(run_with(**counts)).widths(cells)) == cells


def test_one_failure_among_thousands_is_visible_in_the_bar() -> None:
    assert (TaskState.FAILED, 1) in list(Bar(run_with(succeeded=9_999, failed=1)).widths(80))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_picture_fits_the_terminal(encoding: str) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=terminal, force_terminal=True, width=80, height=12, legacy_windows=False)
    view = LiveView(console)
    run = run_with(running=50, failed=50).model_copy(update={"reason": "nothing runs: no pod registers x (task a)"})
    view.show(Snapshot(run, tasks_in("running", 50), [], tasks_in("failed", 50)))
    view.silent(PodUnreachable({"http://127.0.0.1:8000": "connection refused"}))
    lines = console.render_lines(view.render(), console.options)
    assert len(lines) <= 12
    assert "no pod answers" in "".join(segment.text for segment in lines[-1])


def test_plain_view_prints_changes_only_and_an_outage_once() -> None:
    printed = io.StringIO()
    view = PlainView(Console(file=printed, width=200))
    snapshot = Snapshot(run_with(running=1, pending=2))
    for _ in range(3):
        view.show(snapshot)
    for _ in range(3):
        view.silent(PodUnreachable({"http://a": "connection refused"}))
    view.show(Snapshot(run_with(succeeded=1, running=1, pending=1)))
    assert [line[9:] for line in printed.getvalue().splitlines()] == [
        "0/3 done, 1 running",
        "asking again: no pod answers at http://a (connection refused)",
        "a pod answers again",
        "1/3 done, 1 running",
    ]


def test_plain_view_says_why_nothing_runs_once_and_again_when_it_comes_back() -> None:
    printed = io.StringIO()
    view = PlainView(Console(file=printed, width=200))
    stuck = run_with(ready=1, pending=2).model_copy(update={"reason": "nothing runs: no pod registers x (task a)"})
    tasks = tasks_in("ready", 1, reason="no pod registers x")
    for snapshot in (
        Snapshot(stuck),
        *[Snapshot(stuck, ready=tasks)] * 3,
        Snapshot(run_with(running=1, pending=2)),
        Snapshot(stuck, ready=tasks),
    ):
        view.show(snapshot)
    assert [line[9:] for line in printed.getvalue().splitlines()] == [
        "0/3 done, 1 ready",
        "nothing runs: no pod registers x (task a)",
        "ready-0 is ready: no pod registers x",
        "0/3 done, 1 running",
        "0/3 done, 1 ready",
        "nothing runs: no pod registers x (task a)",
        "ready-0 is ready: no pod registers x",
    ]


def watched(pods: FakePods, time: FakeTime) -> Run:
    client = Client("http://a.example:1,http://b.example:2", patience_seconds=0, clock=time.clock, sleep=time.sleep)
    return follow.watch(client, RUN_ID, follow.NoView(), clock=time.clock, sleep=time.sleep)


def test_watcher_outlives_all_pods_for_a_while(pods: FakePods) -> None:
    time = FakeTime()

    def die(_: httpx.Request) -> httpx.Response:
        pods.down |= {"http://a.example:1", "http://b.example:2"}
        return httpx.Response(200, json=run_json(counts={"pending": 3}))

    def wake(seconds: float) -> None:
        time.slept.append(seconds)
        time.now += seconds
        if time.now > 30:
            pods.down.clear()

    pods.on(RUN, die, run_json("succeeded"))
    client = Client("http://a.example:1,http://b.example:2", patience_seconds=0, clock=time.clock, sleep=wake)
    assert follow.watch(client, RUN_ID, follow.NoView(), clock=time.clock, sleep=wake).succeeded
    assert time.now > 30


def test_watcher_backs_off_while_nothing_changes_and_hurries_when_something_does(pods: FakePods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_PAUSE_SECONDS", 0.2)
    time = FakeTime()
    idle, moved = run_json(counts={"pending": 3}), run_json(counts={"pending": 2, "succeeded": 1})
    pods.on(RUN, *[idle] * 8, moved, run_json("succeeded"))
    assert watched(pods, time).succeeded
    assert time.slept[0] == 0.2
    assert time.slept[-2] == 1.0
    assert time.slept[-1] == 0.2
    assert all("/tasks" not in request for request in pods.asked), "no task is asked for where the counts have none to show"


def test_ready_tasks_are_asked_for_once_nothing_changes(pods: FakePods) -> None:
    shown: list[list[str]] = []

    class Seen(follow.NoView):
        def show(self, snapshot: Snapshot) -> None:
            shown.append([f"{task.id}: {task.reason}" for task in snapshot.stuck])

    time = FakeTime()
    client = Client("http://a.example:1", patience_seconds=0, clock=time.clock, sleep=time.sleep)
    ready = run_json(counts={"ready": 2, "pending": 1})
    pods.on(RUN, run_json(counts={"pending": 3}), *[ready] * 3, run_json("succeeded"))
    pods.on(f"{RUN}/tasks", {"tasks": [task_json("a", "ready", reason="no pod registers x"), task_json("b", "ready")], "next_cursor": None})
    assert follow.watch(client, RUN_ID, Seen(), clock=time.clock, sleep=time.sleep).succeeded
    assert shown == [[], [], ["a: no pod registers x"], ["a: no pod registers x"], []]


def test_window_stays_where_tasks_run_and_moves_on_when_they_have_ended(pods: FakePods) -> None:
    running_at = 4

    def page(request: httpx.Request) -> httpx.Response:
        place = int(request.url.params.get("cursor", "0"))
        tasks: list[JsonValue] = [task_json(f"t{place}", "running")] if place == running_at else []
        return httpx.Response(200, json={"tasks": tasks, "next_cursor": str(place + 1) if place < 9 else None})

    pods.on(f"{RUN}/tasks", page)
    run, window = run_with(running=1, pending=99), Window(TaskState.RUNNING)
    with Client("http://a.example:1") as client:
        assert window.look(client, run) == []
        assert [task.id for task in window.look(client, run)] == ["t4"]
        asked = len(pods.requests)
        assert [task.id for task in window.look(client, run)] == ["t4"]
        assert len(pods.requests) == asked + 1
        running_at = 2
        looks = [window.look(client, run) for _ in range(4)]
    assert [task.id for look in looks for task in look][:1] == ["t2"]


def test_window_asks_nothing_where_the_counts_have_none(pods: FakePods) -> None:
    with Client("http://a.example:1") as client:
        assert Window(TaskState.FAILED).look(client, run_with(succeeded=3)) == []
    assert pods.requests == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.0421, "42 ms"),
        (0.9996, "1.00 s"),
        (9.876, "9.88 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (90_061, "1 d 01 h"),
    ],
)
def test_durations_are_short_and_have_a_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert clean("a\x1b[31m\nb\u202ec\x9b") == "a\\x1b[31m⏎b\\u202ec\\x9b"
    assert clean("x" * 10, 5) == "xxxx…"
