"""A history keeps everything in order, in memory or in a file that several processes write."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peerflow.testing.history import Entry, History

ATTEMPT: dict[str, Any] = {"run_id": "R", "task_id": "a", "attempt": 1, "fencing_token": 7, "pod_id": "p"}
WRITER = """
import sys
from pathlib import Path
from peerflow.testing.history import History
history = History(Path(sys.argv[1]))
for number in range(200):
    history.attempt_started(run_id="R", task_id=sys.argv[2], attempt=number, fencing_token=number, pod_id="p" * 300)
"""


def fill(history: History) -> int:
    number = history.invoke("post", idempotency_key="k")
    history.attempt_started(**ATTEMPT)
    history.effect(run_id="R", task_id="a", name="charge", key="0f", phase="sent")
    history.ok(number, run_id="R", existing=False)
    history.attempt_ended(**ATTEMPT, outcome="succeeded")
    history.fault("kill", pod_id="p")
    return number


def test_entries_are_kept_in_order_with_all_their_facts() -> None:
    history = History(clock=lambda: 12.5)
    number = fill(history)
    assert history.entries() == [
        Entry("invoke", 12_500, {"kind": "post", "idempotency_key": "k"}, number),
        Entry("attempt_started", 12_500, ATTEMPT),
        Entry("effect", 12_500, {"run_id": "R", "task_id": "a", "name": "charge", "key": "0f", "phase": "sent"}),
        Entry("ok", 12_500, {"run_id": "R", "existing": False}, number),
        Entry("attempt_ended", 12_500, {**ATTEMPT, "outcome": "succeeded"}),
        Entry("fault", 12_500, {"kind": "kill", "pod_id": "p"}),
    ]


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = History(path, clock=lambda: 1.0)
    assert history.entries() == []
    number = fill(history)
    in_memory = History(clock=lambda: 1.0)
    fill(in_memory)
    read = History.read(path)
    assert [(entry.phase, entry.at_ms, entry.facts) for entry in read.entries()] == [
        (entry.phase, entry.at_ms, entry.facts) for entry in in_memory.entries()
    ]
    assert read.entries()[0].number == number
    read.fault("thaw")
    assert len(history.entries()) == 7


def test_a_file_that_is_not_there_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        History.read(tmp_path / "nowhere")


def test_a_line_that_a_killed_process_did_not_finish_is_left_out_and_any_other_broken_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "history"
    fill(History(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert len(History.read(path).entries()) == 5
    for broken in (b"[]\n", b"{}\n", b'{"phase\n'):
        path.write_bytes(whole + broken + whole)
        with pytest.raises(ValueError, match="line 7 of "):
            History.read(path).entries()


def test_several_processes_and_threads_write_one_file_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "history"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"process {number}"]) for number in range(2)]
    history = History(path)

    def write(name: str) -> None:
        for number in range(200):
            history.attempt_started(run_id="R", task_id=name, attempt=number, fencing_token=number, pod_id="p")

    threads = [threading.Thread(target=write, args=(f"thread {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    entries = history.entries()
    assert set(Counter(entry.text("task_id") for entry in entries).values()) == {200}
    assert [entry.integer("attempt") for entry in entries if entry.text("task_id") == "process 1"] == list(range(200))


def test_operations_are_calls_with_their_ends_and_one_without_an_end_is_unknown() -> None:
    history = History()
    first, second, third, fourth = (history.invoke("cancel", run_id=name) for name in "abcd")
    history.fail(second, status=409)
    history.ok(first, run_id="x")
    history.unknown(third, error="cut off")
    found = history.operations()
    assert [(operation.number, operation.kind, operation.outcome) for operation in found] == [
        (first, "cancel", "ok"),
        (second, "cancel", "fail"),
        (third, "cancel", "unknown"),
        (fourth, "cancel", "unknown"),
    ]
    assert [operation.run_id for operation in found] == ["x", "b", "c", "d"]
    assert (found[1].asked, found[1].answered, found[3].answered) == ({"run_id": "b"}, {"status": 409}, {})


def test_facts_of_another_type_than_was_asked_for_are_none() -> None:
    entry = Entry("fault", 0, {"text": "x", "number": 3, "truth": True})
    assert [entry.text(name) for name in ("text", "number", "nothing")] == ["x", None, None]
    assert [entry.integer(name) for name in ("text", "number", "truth", "nothing")] == [None, 3, None, None]
    history = History()
    history.invoke("post", run_id=1, name="n")
    operation = history.operations()[0]
    assert (operation.run_id, operation.text("name"), operation.text("run_id")) == (None, "n", None)
