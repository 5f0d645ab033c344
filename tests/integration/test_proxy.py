"""The proxy that chaos tests put between pods and Redis: each fault does what its name says, and nothing else."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.scripts import digest, source
from tests.support.access import admin
from tests.support.proxy import Cut, Delay, Late, Proxy, Reply
from tests.support.servers import connect
from tests.support.waiting import wait_until


@pytest.fixture
def proxy(valkey_url: str) -> Generator[Proxy]:
    with Proxy(valkey_url, seed=1) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Generator[redis.Redis]:
    with connect(proxy.url) as client:
        yield client


@pytest.fixture
def direct(valkey_url: str) -> Generator[redis.Redis]:
    with connect(valkey_url) as client:
        yield client


@pytest.fixture
def key(namespace: str, direct: redis.Redis) -> Generator[str]:
    key = f"{{{namespace}:0}}:counter"
    yield key
    direct.delete(key)


def test_without_rules_everything_passes_and_is_counted(proxy: Proxy, client: redis.Redis, key: str) -> None:
    assert client.incr(key) == 1
    pipeline = client.pipeline(transaction=False)
    for _ in range(2):
        pipeline.incr(key)
    pipeline.get(key)
    assert pipeline.execute() == [2, 3, "3"]
    assert proxy.counts["INCRBY"] == 3
    assert proxy.counts["GET"] == 1
    large = "x" * 300_000
    client.set(key, large)
    assert client.get(key) == large


def test_a_command_that_is_cut_before_is_not_applied_and_one_cut_after_is(proxy: Proxy, client: redis.Redis, key: str) -> None:
    before = proxy.on("INCRBY", Cut("before"), after=1)
    assert client.incr(key) == 1
    with pytest.raises(RedisConnectionError):
        client.incr(key)
    assert client.get(key) == "1"
    after = proxy.on("INCRBY", Cut("after"), times=2)
    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            client.incr(key)
    assert client.incr(key) == 4
    assert (before.hits, after.hits) == (1, 2)


def test_a_script_is_known_by_its_name(proxy: Proxy, client: redis.Redis) -> None:
    client.script_load(source("release"))
    proxy.on("release", Reply("LOADING wait"))
    proxy.on("claim", Reply("READONLY not this one"))
    with pytest.raises(BusyLoadingError):
        client.evalsha(digest("release"), 1, "{nobody:0}:", "pod", "digest", "")
    assert client.evalsha(digest("release"), 1, "{nobody:0}:", "pod", "digest", "") == ["OK", []]
    assert proxy.counts["release"] == 2


def test_a_forged_error_is_not_sent_to_the_server(proxy: Proxy, client: redis.Redis, key: str) -> None:
    proxy.on("INCRBY", Reply("READONLY You can't write against a read only replica."))
    with pytest.raises(ReadOnlyError):
        client.incr(key)
    assert client.incr(key) == 1


def test_a_delayed_command_takes_as_long_and_pipelined_ones_wait_together(proxy: Proxy, client: redis.Redis, key: str) -> None:
    client.ping()
    proxy.on(None, Delay(0.3), times=None)
    started = time.monotonic()
    pipeline = client.pipeline(transaction=False)
    for _ in range(20):
        pipeline.incr(key)
    assert pipeline.execute()[-1] == 20
    assert 0.3 <= time.monotonic() - started < 4


def test_a_command_that_comes_late_is_applied_after_those_that_its_client_sent_since(proxy: Proxy, client: redis.Redis, key: str) -> None:
    proxy.on("SET", Late())
    with pytest.raises(RedisConnectionError):
        client.set(key, "old")
    client.set(key, "new")
    assert proxy.deliver_late() == 1
    assert client.get(key) == "old"


def test_in_a_black_hole_connections_stay_and_nothing_comes(valkey_url: str, proxy: Proxy, direct: redis.Redis, key: str) -> None:
    with redis.Redis.from_url(admin(proxy.url), socket_timeout=0.2, retry=None, decode_responses=True) as client:
        client.ping()
        proxy.hold("to_client")
        with pytest.raises(RedisTimeoutError):
            client.incr(key)
        assert direct.get(key) == "1"
        proxy.heal()
        client.ping()
        proxy.hold("to_server")
        with pytest.raises(RedisTimeoutError):
            client.incr(key)
        assert direct.get(key) == "1"
        proxy.heal()
        # As TCP does: what was on its way arrives, although its sender has given it up.
        wait_until(lambda: direct.get(key) == "2", "the held command arrives")
        assert client.incr(key) == 3


def test_a_client_that_leaves_takes_its_blocking_read_along(proxy: Proxy, direct: redis.Redis, key: str) -> None:
    answers: list[Any] = []
    with connect(proxy.url) as client:
        reading = threading.Thread(target=lambda: answers.append(_read(client, key)))
        reading.start()
        wait_until(lambda: proxy.counts["BLPOP"] == 1, "the read is under way")
        proxy.cut_all()
        reading.join(5)
    wait_until(lambda: _blocked(direct) == 0, "nobody is blocked any more")
    direct.rpush(key, "message")
    assert direct.llen(key) == 1
    assert answers == ["cut"]


def _read(client: redis.Redis, key: str) -> object:
    try:
        return client.blpop([key], timeout=4)
    except RedisConnectionError:
        return "cut"


def _blocked(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


def test_chance_depends_on_the_seed_alone(valkey_url: str) -> None:
    def cuts(seed: int) -> list[bool]:
        with Proxy(valkey_url, seed=seed) as proxy, connect(proxy.url) as client:
            proxy.on("ECHO", Reply("ERR no"), times=None, chance=0.5)
            return [_refused(client) for _ in range(30)]

    first = cuts(7)
    assert first == cuts(7)
    assert first != cuts(8)
    assert 5 < sum(first) < 25


def _refused(client: redis.Redis) -> bool:
    try:
        client.echo("x")
    except redis.ResponseError:
        return True
    return False


def test_a_server_that_is_away_closes_its_clients(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Proxy("redis://127.0.0.1:1/0") as proxy, connect(proxy.url) as client, pytest.raises(RedisConnectionError):
        client.ping()
