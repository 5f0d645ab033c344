"""What a server's errors mean, which addresses are understood, and that nothing is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

from engine.errors import ConfigError, StorageCorrupt, StorageError, StorageRefused, StorageUnavailable
from storage.connection import check_url, close, open_blocking_client, open_client, translated
from storage.routed import RoutedBlockingSSLConnection, RoutedSSLConnection
from storage.server_url import address_of


def as_redis_py_says(reply: str) -> Exception:
    """The exception that redis-py makes of an error reply."""
    return cast("Exception", BaseParser.parse_error(reply))  # pyright: ignore[reportUnknownMemberType]


def meaning(error: BaseException) -> StorageError:
    with pytest.raises(StorageError) as found, translated("redis://h:1"):
        raise error
    assert found.value.__cause__ is error
    return found.value


@pytest.mark.parametrize(
    "reply",
    [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "ERR max number of clients reached",
    ],
)
def test_a_server_that_cannot_now_is_unavailable(reply: str) -> None:
    error = meaning(as_redis_py_says(reply))
    assert isinstance(error, StorageUnavailable)
    assert error.address == "redis://h:1"


@pytest.mark.parametrize(
    "reply",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "NOREPLICAS Not enough good replicas to write.",
        "NOPERM User x has no permissions to run the 'evalsha' command",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "ERR OOM command not allowed when used memory > 'maxmemory'. script: 1, on @user_script:5.",
        "ERR invalid password",
    ],
)
def test_a_server_that_will_not_has_refused(reply: str) -> None:
    assert isinstance(meaning(as_redis_py_says(reply)), StorageRefused)


@pytest.mark.parametrize(
    "reply",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR user_script:12: attempt to index local 'record' (a nil value) script: 1, on @user_script:12.",
        "ERR value is not an integer or out of range",
    ],
)
def test_any_other_error_reply_means_that_the_data_make_no_sense(reply: str) -> None:
    error = meaning(as_redis_py_says(reply))
    assert isinstance(error, StorageCorrupt)
    assert reply.removeprefix("ERR ").split(" ")[0] in str(error)


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("Connection closed by server."),
        redis_errors.TimeoutError("Timeout reading from h:1"),
        redis_errors.BusyLoadingError("Redis is loading"),
        redis_errors.MaxConnectionsError("Too many connections"),
        redis_errors.InvalidResponse("Protocol Error"),
        redis_errors.RedisError("something"),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
        OSError(113, "No route to host"),
        TimeoutError(),
        asyncio.IncompleteReadError(b"", 4),
    ],
    ids=repr,
)
def test_a_line_that_breaks_leaves_the_outcome_unknown(error: Exception) -> None:
    assert isinstance(meaning(error), StorageUnavailable)


def test_a_wrong_password_is_refused() -> None:
    assert isinstance(meaning(redis_errors.AuthenticationError("no")), StorageRefused)


def test_a_script_that_is_not_known_is_the_callers_to_load() -> None:
    assert isinstance(as_redis_py_says("NOSCRIPT No matching script. Please use EVAL."), redis_errors.NoScriptError)


@pytest.mark.parametrize("error", [ValueError("ours"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_is_not_the_servers_is_left_alone(error: BaseException) -> None:
    with pytest.raises(type(error)) as found, translated("redis://h"):
        raise error
    assert found.value is error


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:secret@example.org:1234/5", "rediss://example.org:1234/5"),
        ("redis://:secret@h", "redis://h"),
        ("redis://user@[::1]:6379", "redis://[::1]:6379"),
        ("unix:///run/valkey.sock?db=1&password=secret", "unix:///run/valkey.sock"),
        ("redis+sentinel://u:secret@a:1,[::1]:2/pf/0?sentinel_password=secret", "redis+sentinel://a:1,[::1]:2/pf/0"),
        ("rediss+cluster://:sec:ret@a,b:2?ssl_password=secret", "rediss+cluster://a,b:2"),
    ],
)
def test_an_address_holds_no_password(url: str, address: str) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    ["redis://h", "rediss://h", "unix:///s", "redis+sentinel://h/s", "rediss+sentinel://h/s", "redis+cluster://h", "rediss+cluster://h"],
)
def test_known_schemes_are_understood(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["http://h", "localhost:6379", "", "redis+sentinels://h", "valkey://h"])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    for opened in (
        lambda: open_blocking_client(url, timeout_seconds=1),
        lambda: open_client(url, timeout_seconds=1, connections=1, wait_seconds=1),
    ):
        with pytest.raises(ConfigError, match="use redis://, rediss://"):
            opened()


async def test_no_client_sends_anything_twice_on_its_own() -> None:
    client = open_client("redis://h", timeout_seconds=2.0, connections=3, wait_seconds=1.0)
    blocking = open_blocking_client("redis://h", timeout_seconds=0.5)
    for settings in (client.connection_pool.connection_kwargs, blocking.connection_pool.connection_kwargs):
        assert settings["retry"].get_retries() == 0
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 2.0
    assert blocking.connection_pool.connection_kwargs["socket_timeout"] == 0.5
    await close(client)


@pytest.mark.parametrize("scheme", ["rediss+sentinel://:s3cret@a,b/main/3", "rediss+cluster://:s3cret@a,b"])
async def test_connections_that_look_for_their_server_have_the_urls_options_and_are_made_once_too(scheme: str, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    client = open_client(f"{scheme}?ssl_ca_certs={ca}", timeout_seconds=2.0, connections=3, wait_seconds=1.0)
    blocking = open_blocking_client(f"{scheme}?ssl_ca_certs={ca}", timeout_seconds=0.5)
    made, thread_s = cast("tuple[Any, Any]", (client.connection_pool.make_connection(), blocking.connection_pool.make_connection()))
    assert (type(made), type(thread_s)) == (RoutedSSLConnection, RoutedBlockingSSLConnection)
    assert [made.ssl_context.ca_certs, thread_s.ca_certs] == [str(ca)] * 2
    for each in (made, thread_s):
        assert (each.password, each.db, each.protocol) == ("s3cret", 3 if "sentinel" in scheme else 0, 2)
        assert each.retry.get_retries() == 0
    await close(client)


@pytest.mark.parametrize("error", [redis_errors.ConnectionError("gone"), OSError("gone")])
async def test_closing_what_is_gone_is_no_news(error: Exception) -> None:
    class Gone:
        async def aclose(self) -> None:
            raise error

    await close(Gone())


async def test_closing_hides_no_mistake_of_ours() -> None:
    class Broken:
        async def aclose(self) -> None:
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # it has no text
        await close(Broken())


def test_every_error_class_of_redis_py_is_translated() -> None:
    def classes(base: type[Exception]) -> list[type[Exception]]:
        return [base, *(found for child in base.__subclasses__() for found in classes(child))]

    made: Callable[[type[Exception]], Any] = lambda kind: kind.__new__(kind)  # noqa: E731
    for kind in classes(redis_errors.RedisError):
        with pytest.raises(StorageError), translated("redis://h"):
            raise made(kind)


async def test_a_client_is_one_of_redis_pys() -> None:
    client = open_client("redis://h", timeout_seconds=1, connections=1, wait_seconds=1)
    assert isinstance(client, redis.asyncio.Redis)
    await close(client)
