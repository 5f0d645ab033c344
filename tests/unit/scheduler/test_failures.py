"""How failures are put into words, also those of exceptions that fight back."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from engine.outcome import MESSAGE_BYTES, TRACEBACK_BYTES
from scheduler.failures import failed, failed_in_user_code, where_coroutine_waits, where_thread_is


def test_a_traceback_holds_causes_and_ends_with_the_error() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        info = failed_in_user_code(error).error
    assert info.traceback is not None
    assert "KeyError: 'inner'" in info.traceback
    assert info.traceback.endswith("ValueError: outer\n")


def test_an_exception_that_cannot_say_anything_still_fails_with_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no comment")

    failure = failed_in_user_code(Mute())
    assert failure.error.type == "Mute"
    assert "RuntimeError" in failure.error.message


def test_an_endless_recursion_has_a_bounded_traceback() -> None:
    def deeper(level: int) -> int:
        return deeper(level + 1) + 1

    with pytest.raises(RecursionError) as raised:
        deeper(0)
    failure = failed_in_user_code(raised.value)
    assert failure.error.traceback is not None
    assert "in deeper" in failure.error.traceback
    assert len(failure.error.traceback) <= TRACEBACK_BYTES + 1


def test_a_huge_message_is_cut_before_it_goes_anywhere() -> None:
    failure = failed(ValueError("x" * 10**7))
    assert len(failure.error.message) == MESSAGE_BYTES + 1
    assert json.loads(failure.error.to_json())["message"].endswith("x…")


def test_class_names_are_dotted_and_end_before_object() -> None:
    assert failed(FileNotFoundError(2, "no")).mro == (
        "builtins.FileNotFoundError",
        "builtins.OSError",
        "builtins.Exception",
        "builtins.BaseException",
    )


async def test_where_a_coroutine_waits_is_its_whole_stack() -> None:
    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    where = where_coroutine_waits(task)
    assert where is not None
    assert where.index("in outer") < where.index("in inner") < where.index("in sleep")
    task.cancel()


def test_a_thread_shows_where_it_is_and_one_that_does_not_exist_shows_nothing() -> None:
    here = where_thread_is(threading.get_ident())
    assert here is not None
    assert "test_a_thread_shows_where_it_is" in here
    assert where_thread_is(0) is None
