"""Pieces of a log as they are stored: lines come out as they went in, and what makes no sense is said to."""

from __future__ import annotations

import pytest

from engine.errors import StorageCorrupt
from storage.task_logs import LogPlace, Piece, body_of, encode_line


@pytest.mark.parametrize("text", ["", "plain", 'quotes " and \\ and \n feeds', "\x00\x1b[31m\x7f", "ü → 🦉", "\u2028"])
def test_a_line_comes_out_as_it_went_in(text: str) -> None:
    body = body_of([encode_line(20, "stderr", text, None, None), encode_line(10, "log", text, "warning", "shop")])
    first, second = Piece.parse(7, "1000 3:2 1 2 0 pod\n" + body.decode()).lines("t")
    assert (first.place, first.at_ms, first.task_id, first.attempt, first.pod) == (LogPlace(7, 1), 980, "t", 2, "pod")
    assert (first.stream, first.text, first.level, first.logger) == ("stderr", text, None, None)
    assert (second.stream, second.text, second.level, second.logger) == ("log", text, "warning", "shop")


def test_half_a_surrogate_pair_becomes_its_escape() -> None:
    [line] = Piece.parse(1, "0 0:1 1 1 0 p\n" + body_of([encode_line(0, "stdout", "a\udcff", None, None)]).decode()).lines("t")
    assert line.text == "a\udcff"


@pytest.mark.parametrize("entry", ["", "1 2 3", "x 0:1 1 1 0 p\n[]", "1 01 1 1 0 p\n[]"])
def test_an_entry_that_is_none_is_corrupt(entry: str) -> None:
    with pytest.raises(StorageCorrupt):
        Piece.parse(1, entry)


@pytest.mark.parametrize("body", ["", "{", "[1]", '[["x",0,"t"]]', '[[0,9,"t"]]', "[[0]]", "[[0,0,1,2,3,4,5]]"])
def test_a_body_that_is_none_is_corrupt(body: str) -> None:
    with pytest.raises(StorageCorrupt):
        Piece.parse(1, f"1 0:1 1 1 0 p\n{body}").lines("t")


def test_a_batch_that_tells_only_of_dropped_lines_is_one_line() -> None:
    [line] = Piece.parse(1, "500 0:1 1 0 1 p\n[]").lines("t")
    assert (line.place, line.at_ms, line.stream, line.text) == (
        LogPlace(1, 0),
        500,
        "peerflow",
        "1 line dropped here: they came faster than they can be kept",
    )
