"""The small values: errors, states, outcomes, ids, events."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import errors, events
from engine.ids import MAX_PARTITIONS, is_id, is_run_id, partition_of, run_id
from engine.outcome import TaskErrorInfo
from engine.problems import shown
from engine.states import RunState, TaskState

ERRORS = [
    (errors.RunNotFound("r"), "run r does not exist, or has expired"),
    (errors.RunAlreadyFinished("r", "failed"), "run r has already finished: failed"),
    (
        errors.IdempotencyConflict("k", "r"),
        "idempotency key 'k' was used for run r with another body; use a new key for a new definition",
    ),
    (errors.TaskNotFound("r", "t"), "run r has no task 't'"),
    (errors.LeaseLost("c"), "claim c has been lost: the task was cancelled, or is another pod's by now"),
    (errors.TaskFailed("no day"), "no day"),
    (errors.TaskTimedOut(1.5), "the attempt ran longer than its timeout of 1.5 s"),
    (errors.TaskNotRegistered("f"), "no task function 'f' is registered on this pod"),
    (errors.StorageUnavailable("redis://h:1", "timeout"), "cannot reach redis://h:1: timeout"),
    (errors.StorageRefused("OOM"), "the server refused the call, nothing was changed: OOM"),
    (errors.StorageCorrupt("run r has no graph"), "stored data make no sense: run r has no graph"),
    (errors.ConfigError(["a must be b", "c must be d"]), "a must be b\nc must be d"),
    (errors.DefinitionError([errors.Problem("cycle", "/x", "m", "r"), errors.Problem("y", "", "n", "s")]), "/x: m; r\ndefinition: n; s"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_builds_its_text_and_survives_copies(error: errors.PeerflowError, text: str) -> None:
    assert str(error) == text
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == text
        assert vars(twin) == vars(error)


def test_the_tree_of_errors_is_the_one_that_its_docstring_shows() -> None:
    tree: list[str] = []

    def walk(kind: type[BaseException]) -> None:
        tree.append(kind.__name__)
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child)

    walk(errors.PeerflowError)
    lines = (errors.__doc__ or "").splitlines()
    shown_names = [line.strip(" │├└─").split()[0] for line in lines if line.startswith("    ")]
    assert sorted(tree) == sorted(shown_names)


def test_terminal_states_are_those_that_no_pod_leaves() -> None:
    assert {state for state in TaskState if state.terminal} == {"succeeded", "failed", "skipped", "cancelled"}
    assert {state for state in RunState if state.terminal} == {"succeeded", "failed", "cancelled"}
    assert [str(state) for state in TaskState] == ["pending", "ready", "running", "waiting", "succeeded", "failed", "skipped", "cancelled"]


def test_an_error_record_is_json_with_its_three_fields() -> None:
    assert json.loads(TaskErrorInfo("ValueError", "bad é", None).to_json()) == {"type": "ValueError", "message": "bad é", "traceback": None}


def test_an_error_record_keeps_the_head_of_the_message_and_the_tail_of_the_traceback() -> None:
    record = json.loads(TaskErrorInfo("E" * 300, "first" + "é" * 5000, "é" * 20_000 + "last").to_json())
    assert record["type"] == "E" * 253 + "…"
    assert record["message"].startswith("firstéé")
    assert record["traceback"].startswith("…é")
    assert record["traceback"].endswith("last")


@given(st.text(st.characters(), max_size=30), st.integers(1, 1500))
def test_an_error_record_is_bounded_and_utf_8_whatever_the_text(text: str, times: int) -> None:
    record = json.loads(TaskErrorInfo("E", text * times, text * times).to_json().encode())
    assert len(record["message"].encode()) <= 4096
    assert len(record["traceback"].encode()) <= 16_384


def test_a_lone_surrogate_in_an_error_is_shown_as_an_escape() -> None:
    assert json.loads(TaskErrorInfo("E", "file \udcff", None).to_json())["message"] == "file \\udcff"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10), st.integers(1, MAX_PARTITIONS), st.data())
def test_a_run_id_is_a_uuid_7_that_names_its_partition(now_ms: int, random: bytes, partitions: int, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    made = run_id(now_ms, random, partition, partitions)
    parsed = uuid.UUID(made)
    assert (str(parsed), parsed.version, parsed.variant) == (made, 7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms
    assert partition_of(made, partitions) == partition
    assert is_run_id(made)


def test_run_ids_sort_by_time_and_keep_their_random_bits() -> None:
    early, late = (run_id(now, b"\xff" * 10, 0, 1) for now in (1, 2))
    assert early < late
    assert early == "00000000-0001-7fff-bfff-ffffffffffff"
    assert run_id(1, b"\x00" * 10, 0, 1) == "00000000-0001-7000-8000-000000000000"


def test_the_last_partition_is_reached_from_the_highest_random_number() -> None:
    assert partition_of(run_id(1, b"\xff" * 10, 2, 3), 3) == 2


@pytest.mark.parametrize(
    ("random", "partition", "partitions", "text"),
    [
        (b"x" * 9, 0, 1, "random_bytes"),
        (b"x" * 10, 1, 1, r"partition \(1\)"),
        (b"x" * 10, -1, 1, r"partition \(-1\)"),
        (b"x" * 10, 0, 0, r"partitions \(0\)"),
        (b"x" * 10, 0, 4097, r"partitions \(4097\)"),
    ],
)
def test_a_run_id_is_not_made_from_wrong_facts(random: bytes, partition: int, partitions: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        run_id(1, random, partition, partitions)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "01A0C450-6C00-7FA8-9CBA-8974C479D1B4",
        "01a0c450-6c00-4fa8-9cba-8974c479d1b4",
        "01a0c450-6c00-7fa8-1cba-8974c479d1b4",
        "01a0c4506c007fa89cba8974c479d1b4",
        "01a0c450-6c00-7fa8-9cba-8974c479d1b4\n",
        "01a0c450-6c00-7fa8-9cba-8974c479d1b٤",
    ],
)
def test_what_is_no_run_id_is_known_without_asking_storage(text: str) -> None:
    assert not is_run_id(text)


def test_ids_are_those_that_keys_and_urls_can_carry() -> None:
    assert all(map(is_id, ["a", "A-1_b.c", "...", ".a", "x" * 128]))
    assert not any(map(is_id, ["", ".", "..", "a b", "é", "a\n", "a/b", "x" * 129, "a:b", "{a}"]))


def test_values_of_any_kind_are_shown_short_and_on_one_line() -> None:
    assert shown("a\nb") == '"a\\nb"'
    assert shown("x" * 60) == '"' + "x" * 60 + '"'
    assert shown("x" * 1000) == '"' + "x" * 59 + "…"
    assert shown((1, 2)) == "an array"
    assert shown(object()) == "a Python object"
    values: list[object] = [None, True, 1, 1.5, {}]
    assert [shown(value) for value in values] == ["null", "true", "1", "1.5", "an object"]


def test_events_are_frozen_values_made_by_name() -> None:
    finished = events.RunFinished(run_id="r", state=RunState.FAILED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        finished.run_id = "s"  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(finished, events.Event)


def test_every_event_has_fields_and_no_room_for_others() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    assert len(kinds) > 15
    for kind in kinds:
        assert dataclasses.is_dataclass(kind)
        assert dataclasses.fields(kind) or kind is events.Event
        assert "__slots__" in vars(kind)
