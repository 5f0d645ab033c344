"""take_token: one token out of a caller's bucket, which fills at a steady rate up to its size."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import cast

import pytest

from engine.errors import StorageUnavailable
from storage.store import Store
from storage.tokens import Taken
from tests.support.lab import Lab
from tests.support.waiting import wait_until_async

SLOW = 1
"""Thousandths of a token a second: a test sees none come."""


def bucket(lab: Lab) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", lab.client.hgetall(lab.key("tokens:d")))


async def test_a_bucket_is_full_at_first_and_each_call_takes_one(lab: Lab) -> None:
    assert lab.raw() == {}
    before = lab.now_ms()
    assert lab.call("take_token", "d", 1_000, 3) == [b"OK", 2, 1_000]
    after = lab.now_ms()
    assert lab.raw().keys() == {"tokens:d"}
    stored = bucket(lab)
    assert stored.keys() == {b"level", b"at"}
    assert stored[b"level"] == b"2000"
    assert before <= int(stored[b"at"]) // 1000 <= after
    assert 0 < lab.client.pttl(lab.key("tokens:d")) <= 1_000


async def test_an_empty_bucket_refuses_says_how_long_and_changes_nothing(lab: Lab) -> None:
    for left in (1, 0):
        assert lab.call("take_token", "d", SLOW, 2)[:2] == [b"OK", left]
    with lab.unchanged():
        word, token_ms, full_ms = lab.call("take_token", "d", SLOW, 2)
    assert word == b"EMPTY"
    assert 990_000 < token_ms <= 1_000_000
    assert 1_990_000 < full_ms <= 2_000_000


async def test_tokens_come_back_with_time_and_never_more_than_the_bucket_holds(lab: Lab) -> None:
    lab.call("take_token", "d", 1_000, 5)
    for ago_ms, left in ((0, 0), (1_000, 1), (2_500, 2), (60_000, 4)):
        lab.client.hset(lab.key("tokens:d"), mapping={"level": 1_000, "at": (lab.now_ms() - ago_ms) * 1_000})
        assert lab.call("take_token", "d", 1_000, 5)[:2] == [b"OK", left]


async def test_a_clock_that_was_set_back_gives_and_takes_nothing(lab: Lab) -> None:
    lab.call("take_token", "d", SLOW, 5)
    lab.client.hset(lab.key("tokens:d"), mapping={"level": 2_000, "at": (lab.now_ms() + 3_600_000) * 1_000})
    assert lab.call("take_token", "d", SLOW, 5)[:2] == [b"OK", 1]
    assert lab.call("take_token", "d", SLOW, 5)[:2] == [b"OK", 0]


async def test_a_bucket_that_is_full_again_is_not_stored(lab: Lab) -> None:
    async def no_keys() -> bool:
        return lab.raw() == {}

    lab.call("take_token", "d", 1_000_000_000, 5)
    await wait_until_async(no_keys, "the bucket is gone")


async def test_each_caller_has_a_bucket_of_its_own_on_whatever_pod(lab: Lab) -> None:
    other = await Store.open(lab.url, namespace=lab.keys.namespace)
    here, there = (store.tokens(per_second=0.001, burst=3) for store in (lab.store, other))
    assert [(await tokens.take("ann")).left for tokens in (here, there, here)] == [2, 1, 0]
    refused = await there.take("ann")
    assert (refused.allowed, refused.left) == (False, 0)
    assert refused.retry_ms > 0
    assert await there.take("bob") == Taken(allowed=True, left=2, retry_ms=0, full_ms=1_000_000)
    await other.close()


async def test_a_server_that_is_away_is_told_soon(lab: Lab) -> None:
    away = Store("redis://127.0.0.1:1", namespace="x")
    with pytest.raises(StorageUnavailable):
        await away.tokens(per_second=1, burst=1).take("ann")
    await away.close()
    del lab
