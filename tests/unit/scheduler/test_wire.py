"""Messages between pod and child processes arrive whole, in order, or not at all."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.outcome import Failed, Outcome, Sleeping, Succeeded, TaskErrorInfo
from scheduler.wire import MAX_BYTES, Unpacker, WireError, outcome_from_wire, outcome_to_wire, pack

OUTCOMES: list[Outcome] = [
    Succeeded('{"é":1}'),
    Sleeping(1.5, "null"),
    Failed(TaskErrorInfo("ValueError", "lone surrogate \ud800", "trace\n"), retryable=False, mro=("builtins.ValueError",)),
    Failed(TaskErrorInfo("X", "", None)),
]


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut(messages: list[dict[str, Any]], sizes: list[int]) -> None:
    data = b"".join(map(pack, messages))
    unpacker = Unpacker()
    arrived: list[dict[str, Any]] = []
    step = 0
    while data:
        size = sizes[step % len(sizes)]
        arrived += unpacker.feed(data[:size])
        data = data[size:]
        step += 1
    assert arrived == messages


@pytest.mark.parametrize(
    "data", [struct.pack(">I", MAX_BYTES + 1), struct.pack(">I", 3) + b"{x}", struct.pack(">I", 2) + b"[]", struct.pack(">I", 1) + b"\xff"]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(Unpacker().feed(data))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_outcomes_come_back_as_they_were(outcome: Outcome) -> None:
    [message] = Unpacker().feed(pack(outcome_to_wire(outcome)))
    assert outcome_from_wire(message) == outcome


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"is": "other"},
        {"is": "succeeded"},
        {"is": "succeeded", "result_json": 1},
        {"is": "sleeping", "seconds": "x", "result_json": "1"},
        {"is": "failed", "type": "X", "message": None, "traceback": None, "retryable": True, "mro": []},
        {"is": "failed", "type": "X", "message": "", "traceback": None, "retryable": True, "mro": [1]},
        {"is": "failed", "type": "X", "message": "", "traceback": None, "retryable": True, "mro": None},
    ],
)
def test_what_is_no_outcome_is_refused(value: object) -> None:
    with pytest.raises(WireError):
        outcome_from_wire(value)
