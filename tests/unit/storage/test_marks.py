"""What happened to a task is read from events, and from its record where there are too many of those: both tell the same story."""

from __future__ import annotations

import pytest

from engine.explain import Mark, intervals
from engine.reasons import Reason
from engine.states import TaskState
from storage.marks import Head, marks_of_events, marks_of_record

BORN = 1_000


def reasons(marks: list[Mark]) -> list[tuple[str, int, int | None]]:
    return [(part.reason.value, part.from_ms - BORN, None if part.to_ms is None else part.to_ms - BORN) for part in intervals(BORN, marks)]


def of_events(*lines: str) -> list[tuple[str, int, int | None]]:
    return reasons(marks_of_events(lines, BORN, frozenset({3}))[3])


def of_record(record: str, *log: str) -> list[tuple[str, int, int | None]]:
    return reasons(marks_of_record(Head.parse([record, "", *log]), BORN))


def test_a_record_says_all_that_a_reader_needs() -> None:
    head = Head.parse(["waiting 3 1 1700000000000001 5 6 90 p1 backoff", "4", "1 failed 2 3 p1 1"])
    assert (head.state, head.attempt, head.lost, head.ready, head.started, head.ended) == (TaskState.WAITING, 3, 1, 5, 6, 90)
    assert (head.pod, head.word, head.parents_ended, head.log) == ("p1", "backoff", 4, ("1 failed 2 3 p1 1",))
    assert Head.parse(["ready 0 0 0 5 - - - -", ""]).pod is None


def test_a_task_without_a_record_is_pending() -> None:
    assert Head.parse(["", "2"]) == Head(TaskState.PENDING, parents_ended=2)


def test_events_of_other_tasks_and_of_the_run_are_left_out() -> None:
    lines = ["0 run_created", "5 ready 3 - -", "6 ready 4 - -", "7 started 3 1 p1", "9 run_cancelled enough, said 3 people"]
    assert marks_of_events(lines, BORN, frozenset({3, 8})) == {3: [Mark(1_005, "ready"), Mark(1_007, "started", 1, "p1")], 8: []}


def test_text_behind_an_event_is_no_part_of_it() -> None:
    [mark] = marks_of_events(["5 failed 3 2 p1 E: no such day 3"], BORN, frozenset({3}))[3]
    assert mark == Mark(1_005, "failed", 2, "p1")


@pytest.mark.parametrize(
    ("lines", "record", "log"),
    [
        (["5 ready 3 - -"], "ready 0 0 0 5 - - - -", []),
        (["5 ready 3 - -", "7 started 3 1 p1"], "running 1 0 9 5 7 - p1 claim", []),
        (["5 ready 3 - -", "7 started 3 1 p1", "9 succeeded 3 1 p1"], "succeeded 1 0 9 5 7 9 p1 -", []),
        (["5 ready 3 - -", "7 started 3 1 p1", "9 retry 3 1 p1 E"], "waiting 1 0 9 5 7 50 p1 backoff", ["1 failed 7 9 p1 5"]),
        (
            ["5 ready 3 - -", "7 started 3 1 p1", "9 retry 3 1 p1 E", "50 ready 3 - -"],
            "ready 1 0 9 50 - - - -",
            ["1 failed 7 9 p1 5"],
        ),
        (
            ["5 ready 3 - -", "7 started 3 1 p1", "9 lost 3 1 p1", "9 ready 3 - -", "12 started 3 2 p2", "20 failed 3 2 p2 E"],
            "failed 2 1 9 9 12 20 p2 -",
            ["1 lost 7 9 p1 5"],
        ),
        (["8 skipped 3 - -"], "skipped 0 0 0 - - 8 - -", []),
    ],
)
def test_a_record_tells_what_the_events_tell(lines: list[str], record: str, log: list[str]) -> None:
    assert of_record(record, *log) == of_events(*lines)


def test_a_sleeping_task_sleeps_since_it_started() -> None:
    assert of_record("waiting 1 0 9 5 7 600 p1 sleep") == [("parents", 0, 5), ("queued", 5, 7), ("sleeps_until", 7, None)]


def test_attempts_that_an_older_version_logged_do_not_say_since_when_they_were_ready() -> None:
    assert of_record("running 2 0 9 50 52 - p2 claim", "1 failed 7 9 p1") == [
        ("parents", 0, 7),
        ("running", 7, 9),
        ("retry_at", 9, 50),
        ("queued", 50, 52),
        ("running", 52, None),
    ]


def test_a_run_that_was_given_back_has_lost_that_part_of_its_record() -> None:
    """Events know of it; records keep what counts."""
    lines = ["5 ready 3 - -", "7 started 3 1 p1", "9 released 3 1 p1", "9 ready 3 - -", "12 started 3 1 p2"]
    assert of_events(*lines)[2][0] == Reason.RUNNING
    assert of_record("running 1 0 9 9 12 - p2 claim") == [("parents", 0, 9), ("queued", 9, 12), ("running", 12, None)]
