from __future__ import annotations

import asyncio

import pytest

from tests.support.waiting import wait_until, wait_until_async


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([0, None, 7])
    assert wait_until(lambda: next(answers), "an answer") == 7


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.01 s in vain: the moon is blue \(last answer: 0\)"):
        wait_until(lambda: 0, "the moon is blue", timeout=0.01)


async def test_an_async_predicate_is_awaited() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)

    async def is_done() -> bool:
        return done.is_set()

    assert await wait_until_async(is_done, "the event")


async def test_a_plain_predicate_is_asked_while_the_loop_goes_on() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, done.set)
    assert await wait_until_async(done.is_set, "the event")


async def test_waiting_in_vain_for_an_async_predicate_says_for_what() -> None:
    with pytest.raises(AssertionError, match="in vain: rain"):
        await wait_until_async(lambda: False, "rain", timeout=0.0)
