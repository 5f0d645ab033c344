"""Log lines: one for each event, in JSON or for people, escaped, bounded, and never waited for."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO, cast

import pytest

from engine import events
from engine.states import RunState
from peerflow.log_format import TRACEBACK_CHARS, JsonFormatter, TextFormatter
from peerflow.log_writer import WAITING_LINES, LogWriter
from peerflow.logging import LOGGER, LogPublisher, RequestFailed, configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def lines_of(*published: events.Event, level: str = "info") -> list[dict[str, Any]]:
    stream = io.StringIO()
    writer = configure(cast(Any, level), "json", stream=stream)
    for event in published:
        LogPublisher().publish(event)
    writer.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def text_of(record: logging.LogRecord, *, colour: bool = False) -> str:
    return TextFormatter(colour=colour).format(record)


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "shop", "levelno": logging.INFO, "levelname": "INFO", "msg": message, **extra})


def test_an_event_becomes_one_json_line_with_the_fields_that_all_lines_share() -> None:
    event = events.AttemptFinished(
        run_id="r",
        task_id="a",
        function="f",
        attempt=2,
        claim_id="c",
        pod_id="pod-2",
        outcome="failed",
        error_type="ValueError",
        error_message="no",
        duration_seconds=0.25,
    )
    (line,) = lines_of(event)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "attempt_finished",
        "logger": "peerflow",
        "message": "attempt failed",
        "pod_id": "pod-2",
        "run_id": "r",
        "task": "a",
        "function": "f",
        "attempt": 2,
        "claim_id": "c",
        "outcome": "failed",
        "error_type": "ValueError",
        "error_message": "no",
        "duration_ms": 250.0,
    }


def test_every_line_after_a_pod_s_start_names_the_pod() -> None:
    finished = events.RunFinished(run_id="r", state=RunState.SUCCEEDED)
    started = events.PodStarted(pod_id="pod-1", address="redis://h", concurrency=1, queues=("a", "b"), functions=("f",), version="1")
    _, start, after = lines_of(finished, started, finished)
    assert (start["pod_id"], start["queues"]) == ("pod-1", "a,b")
    assert (after["pod_id"], after["message"], after["event"]) == ("pod-1", "run succeeded", "run_finished")


def test_every_event_of_the_engine_has_words() -> None:
    kinds = [
        kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    ]
    from peerflow.logging import _WORDS  # pyright: ignore[reportPrivateUsage]

    assert not [kind.__name__ for kind in kinds if kind not in _WORDS]


def test_what_happens_all_the_time_is_written_at_level_debug_only() -> None:
    claimed = events.TaskClaimed(run_id="r", task_id="a", function="f", attempt=1, claim_id="c", pod_id="p")
    assert lines_of(claimed) == []
    assert [line["event"] for line in lines_of(claimed, level="debug")] == ["task_claimed"]


def test_an_unforeseen_error_is_written_with_its_traceback() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        (line,) = lines_of(RequestFailed(method="GET", path="/runs", error=error, error_id="ab"))
    assert line["message"] == "GET /runs failed: ValueError: boom"
    assert line["traceback"].endswith("ValueError: boom")


def test_a_loop_s_traceback_stands_on_lines_of_its_own_for_people() -> None:
    failed = events.LoopFailed(pod_id="p", loop="reaper", error="boom", traceback="Traceback:\n  x\x1b[31m")
    stream = Terminal()
    writer = configure("info", "auto", stream=stream)
    LogPublisher().publish(failed)
    writer.close()
    assert "\n    Traceback:\n      x\\x1b[31m\n" in stream.getvalue()


@pytest.mark.parametrize("hostile", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\x7fb", "a\x9b31mb", "a\u2028b", "a\u202eb", "a\x00b", "a\ud800b"])
def test_control_characters_reach_neither_a_line_s_end_nor_the_terminal(hostile: str) -> None:
    for text in (
        text_of(record(hostile, run_id=hostile)),
        JsonFormatter().format(record(hostile, run_id=hostile)),
    ):
        assert text.isprintable()
        text.encode("utf-8")
    assert json.loads(JsonFormatter().format(record(hostile)))["message"] == hostile


def test_lines_are_bounded_whatever_they_are_told() -> None:
    fields = {f"field_{number}": "\x01" * 100_000 for number in range(100)}
    huge = record("\x01" * 1_000_000, **fields)
    assert len(JsonFormatter().format(huge)) < 512 * 1024
    assert len(text_of(huge)) < 512 * 1024


def test_a_long_traceback_keeps_its_end() -> None:
    try:
        raise ValueError("x" * 100_000 + "the cause")
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info())
    trace = json.loads(JsonFormatter().format(failed))["traceback"]
    assert len(trace) == TRACEBACK_CHARS + 1
    assert trace.endswith("the cause")


def test_users_lines_carry_what_their_logger_adds_and_its_name() -> None:
    line = json.loads(JsonFormatter().format(record("hello %s", args=("you",), run_id="r", task="a", attempt=1)))
    assert (line["event"], line["logger"], line["message"]) == ("log", "shop", "hello you")
    assert (line["run_id"], line["task"], line["attempt"]) == ("r", "a", 1)
    assert text_of(record("hello", task="a b")).endswith('info    hello  task="a b" logger=shop')


def test_numbers_that_json_does_not_have_are_written_as_text() -> None:
    line = json.loads(JsonFormatter().format(record("x", a=float("nan"), b=float("-inf"), c=1.5, d=True)))
    assert (line["a"], line["b"], line["c"], line["d"]) == ("nan", "-inf", 1.5, True)


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def written(stream: TextIO) -> str:
        writer = configure("info", "auto", stream=stream)
        LOGGER.info("hello")
        writer.close()
        return cast(io.StringIO, stream).getvalue()

    assert "\x1b[32m" in written(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written(Terminal())
    assert json.loads(written(io.StringIO()))["message"] == "hello"


def test_chatty_libraries_are_quiet_unless_asked() -> None:
    configure("info", "json", stream=io.StringIO())
    assert not logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    assert not logging.getLogger("uvicorn.error").isEnabledFor(logging.INFO)
    assert logging.getLogger("uvicorn.error").isEnabledFor(logging.WARNING)
    configure("debug", "json", stream=io.StringIO())
    assert logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)


def test_configuring_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", stream=first)
    writer = configure("info", "json", stream=second)
    LOGGER.info("hello")
    writer.close()
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


class Stuck(io.StringIO):
    """A stream that nobody reads: writing blocks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.let_go.wait(30)
        return super().write(text)


def test_logging_never_waits_for_a_stuck_stream_and_counts_what_it_drops() -> None:
    stream = Stuck()
    writer = LogWriter(stream)
    writer.setFormatter(JsonFormatter())
    writer.handle(record("first"))
    assert stream.entered.wait(30)
    for number in range(WAITING_LINES + 5):
        writer.handle(record(f"line {number}"))
    stream.let_go.set()
    writer.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages[0] == "first"
    assert "5 lines were dropped: the log is read too slowly" in messages
    assert writer.dropped_total == 5
    assert len(messages) == WAITING_LINES + 2


class Broken(io.StringIO):
    """A stream whose first line fails."""

    def write(self, text: str) -> int:
        if "first" in text:
            raise OSError("disk full")
        return super().write(text)


def test_a_line_that_cannot_be_written_does_not_stop_the_next() -> None:
    stream = Broken()
    writer = LogWriter(stream)
    writer.setFormatter(JsonFormatter())
    writer.handle(record("first"))
    writer.handle(record("second"))
    writer.close()
    assert "second" in stream.getvalue()
