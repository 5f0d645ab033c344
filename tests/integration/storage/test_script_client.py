"""Script calls on connections of their own: one reply for each call, whatever becomes of the caller, the server or the line."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.connection import close, open_client
from storage.scripts import call
from tests.support.lab import Lab
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect

ECHO = "return ARGV[1]"


@pytest.fixture
def own(tmp_path: Path) -> Generator[RedisProcess]:
    """A server of the test's own."""
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
async def client(own: RedisProcess) -> AsyncGenerator[redis.asyncio.Redis]:
    client = open_client(own.url, timeout_seconds=0.5, connections=2, wait_seconds=0.2)
    yield client
    await close(client)


async def load(client: redis.asyncio.Redis, script: str = ECHO) -> str:
    sha: Any = await client.script_load(script)
    return str(sha)


def connections(own: RedisProcess) -> int:
    with connect(own.url) as raw:
        return sum(row["name"] == "peerflow" for row in raw.client_list())


async def echo(client: redis.asyncio.Redis, sha: str, text: str) -> str:
    return await client.evalsha(sha, 0, text)


async def test_calls_at_once_get_each_its_own_reply_over_few_connections(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    texts = [f"text {number} ü" for number in range(200)]
    assert await asyncio.gather(*(echo(client, sha, text) for text in texts)) == texts
    assert connections(own) <= 3


async def test_calls_one_after_the_other_use_one_connection(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    before = connections(own)
    for number in range(10):
        assert await echo(client, sha, str(number)) == str(number)
    assert connections(own) == before + 1


async def test_a_refusal_is_raised_and_the_connection_goes_on(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    failing, sha = await load(client, "return redis.error_reply('NOPE it says')"), await load(client)
    await echo(client, sha, "first")
    before = connections(own)
    with pytest.raises(ResponseError, match="NOPE"):
        await echo(client, failing, "")
    with pytest.raises(NoScriptError):
        await echo(client, "0" * 40, "")
    assert await echo(client, sha, "after") == "after"
    assert connections(own) == before


async def test_a_call_that_is_cancelled_halfway_leaves_no_reply_to_the_next(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    await echo(client, sha, "first")
    own.freeze()
    calls = [asyncio.create_task(echo(client, sha, f"never {number}")) for number in range(2)]
    await asyncio.wait(calls, timeout=0.05)
    for cancelled in calls:
        cancelled.cancel()
    assert {type(error) for error in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}
    own.thaw()
    for number in range(5):
        assert await echo(client, sha, f"mine {number}") == f"mine {number}"


async def test_a_server_that_does_not_answer_in_time_is_given_up_and_its_late_reply_dropped(
    own: RedisProcess, client: redis.asyncio.Redis
) -> None:
    sha = await load(client)
    await echo(client, sha, "first")
    own.freeze()
    with pytest.raises(RedisTimeoutError, match=r"0\.5 s"):
        await echo(client, sha, "late")
    own.thaw()
    assert await echo(client, sha, "mine") == "mine"


async def test_a_caller_that_finds_no_connection_free_in_time_is_told(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    own.freeze()
    calls = [asyncio.create_task(echo(client, sha, "slow")) for _ in range(2)]
    await asyncio.wait(calls, timeout=0.05)
    with pytest.raises(RedisConnectionError, match=r"no connection was free for 0\.2 s"):
        await echo(client, sha, "third")
    own.thaw()
    assert await asyncio.gather(*calls) == ["slow", "slow"]


async def test_a_caller_that_waits_for_a_connection_gets_the_next_one(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    own.freeze()
    calls = [asyncio.create_task(echo(client, sha, str(number))) for number in range(4)]
    await asyncio.wait(calls, timeout=0.05)
    own.thaw()
    assert await asyncio.gather(*calls) == ["0", "1", "2", "3"]


async def test_a_connection_that_the_server_has_closed_is_replaced_before_it_is_used(
    own: RedisProcess, client: redis.asyncio.Redis
) -> None:
    sha = await load(client)
    await echo(client, sha, "first")
    with connect(own.url) as raw:
        raw.client_kill_filter(_type="normal", skipme=True)
    # Any reply that the loop has waited for: it has looked at all its sockets by then.
    other = open_client(own.url, timeout_seconds=1, connections=1, wait_seconds=1)
    await load(other)
    await close(other)
    assert await echo(client, sha, "second") == "second"


async def test_after_a_restart_a_call_fails_at_most_once_and_then_works(own: RedisProcess, client: redis.asyncio.Redis) -> None:
    sha = await load(client)
    await echo(client, sha, "first")
    own.kill()
    with pytest.raises((RedisError, OSError)):
        await echo(client, sha, "nobody is there")
    own.start()
    with pytest.raises(NoScriptError):
        await echo(client, sha, "the scripts are forgotten")
    assert await echo(client, await load(client), "back") == "back"


async def test_a_closed_client_leaves_no_connection(own: RedisProcess) -> None:
    client = open_client(own.url, timeout_seconds=1, connections=3, wait_seconds=1)
    sha = await load(client)
    await asyncio.gather(*(echo(client, sha, "x") for _ in range(3)))
    assert connections(own) > 1
    await close(client)
    assert connections(own) == 0


async def test_a_script_that_the_server_does_not_know_is_loaded_by_the_call(lab: Lab) -> None:
    lab.client.script_flush()
    client = open_client(lab.url, timeout_seconds=5, connections=1, wait_seconds=1)
    assert await call(client, "cancel", lab.keys.prefix, "01890000-0000-7000-8000-000000000001", "", "", 100) == ["UNKNOWN"]
    await close(client)
