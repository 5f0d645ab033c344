"""Lines of an attempt: writes are joined, lines are cut, the newest are kept and the rest is counted."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from scheduler.task_lines import CUT, LINE_BYTES, Line, LineBuffer, cut

ALL = 10**9


@pytest.fixture
def buffer() -> LineBuffer:
    return LineBuffer(1_000, ALL)


def taken(buffer: LineBuffer) -> list[tuple[str, str]]:
    return [(line.stream, line.text) for line in buffer.take(ALL)[0]]


def test_writes_are_joined_to_lines_each_stream_by_itself(buffer: LineBuffer) -> None:
    for stream, text in (
        ("stdout", "he"),
        ("stderr", "oh"),
        ("stdout", "llo"),
        ("stdout", "\n"),
        ("stderr", " no\nmore"),
        ("stdout", "\n"),
    ):
        buffer.write(stream, text)
    assert taken(buffer) == [("stdout", "hello"), ("stderr", "oh no"), ("stdout", "")]
    assert buffer
    buffer.close_lines()
    assert taken(buffer) == [("stderr", "more")]
    assert not buffer


def test_one_write_may_hold_many_lines_of_any_kind(buffer: LineBuffer) -> None:
    buffer.write("stdout", "a\r\n\n\tb\x1b[31m\nc")
    buffer.write("stdout", "")
    buffer.close_lines()
    assert [text for _, text in taken(buffer)] == ["a", "", "\tb\x1b[31m", "c"]


def test_a_line_that_has_begun_lately_waits_for_its_end(buffer: LineBuffer) -> None:
    buffer.write("stdout", "...")
    buffer.close_lines(older_than_seconds=60)
    assert taken(buffer) == []
    buffer.write("stdout", "\n")
    assert taken(buffer) == [("stdout", "...")]


@pytest.mark.parametrize("letter", ["x", "ü", "\udcff"])
def test_a_long_line_is_cut_with_a_mark_however_it_is_written(buffer: LineBuffer, letter: str) -> None:
    for _ in range(30):
        buffer.write("stdout", letter * 7_000)
    buffer.write("stdout", "the end\nnext\n")
    buffer.write("stdout", letter * 200_000 + "\n")
    first, following, third = (text for _, text in taken(buffer))
    for text in (first, third):
        assert text.endswith(CUT)
        assert len(text.encode()) <= LINE_BYTES
    assert following == "next"
    assert cut("short") == "short"


def test_the_newest_lines_are_kept_and_the_rest_is_counted_once() -> None:
    buffer = LineBuffer(3, ALL)
    buffer.write("stdout", "".join(f"{number}\n" for number in range(10)))
    lines, dropped = buffer.take(ALL)
    assert ([line.text for line in lines], dropped) == (["7", "8", "9"], 7)
    assert buffer.take(ALL) == ([], 0)


def test_their_size_is_bounded_too_but_one_line_always_stays() -> None:
    buffer = LineBuffer(1_000, 1_000)
    for _ in range(50):
        buffer.add(Line(0.0, "stdout", "x" * 150))
    lines, dropped = buffer.take(ALL)
    assert (len(lines), dropped) == (4, 46)
    buffer.allow(10)
    buffer.add(Line(0.0, "stdout", "x" * 150))
    assert len(buffer.take(1)[0]) == 1


def test_they_are_taken_in_parts_and_what_was_dropped_is_told_with_the_first() -> None:
    buffer = LineBuffer(4, ALL)
    buffer.lost(5)
    buffer.write("stdout", "a\nb\nc\nd\ne\n")
    first, dropped = buffer.take(210)
    assert ([line.text for line in first], dropped) == (["b", "c"], 6)
    assert [line.text for line in buffer.take(ALL)[0]] == ["d", "e"]


def test_lines_have_the_instant_at_which_they_began(buffer: LineBuffer) -> None:
    before = time.monotonic()
    buffer.write("stdout", "a")
    between = time.monotonic()
    buffer.write("stdout", "b\n")
    [line] = buffer.take(ALL)[0]
    assert before <= line.at <= between


def test_threads_may_write_at_once_and_no_line_is_lost() -> None:
    buffer = LineBuffer(100_000, ALL)
    threads = [threading.Thread(target=lambda: [buffer.write("stdout", "line\n") for _ in range(2_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [text for _, text in taken(buffer)] == ["line"] * 8_000


def test_code_that_runs_while_the_lock_is_held_may_print_as_well(buffer: LineBuffer) -> None:
    class Talks(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            buffer.write("stderr", "from inside\n")
            return "outside"

    buffer.write("stdout", Talks("x"))
    buffer.close_lines()
    assert sorted(taken(buffer)) == [("stderr", "from inside"), ("stdout", "outside")]


def test_a_storm_takes_no_more_memory_than_what_is_kept() -> None:
    def storm() -> Iterator[str]:
        for number in range(200_000):
            yield f"line {number} of the storm\n"

    buffer = LineBuffer(5_000, 100_000)
    for text in storm():
        buffer.write("stdout", text)
    lines, dropped = buffer.take(ALL)
    assert len(lines) + dropped == 200_000
    assert sum(sys.getsizeof(line.text) for line in lines) < 200_000
    assert lines[-1].text == "line 199999 of the storm"
