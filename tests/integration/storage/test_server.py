"""What a store demands of its server before it puts a run there."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
import redis.asyncio

from engine.errors import ConfigError, StorageUnavailable
from storage.connection import open_client
from storage.partition import Identity
from storage.server import LAYOUT_VERSION, agree_on_layout, inspect
from storage.store import Store
from tests.support.redis_process import RedisProcess
from tests.support.servers import EMBEDDED, Server, connect

Start = Callable[..., RedisProcess]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Starts a server of the test's own with the given options."""
    running: list[RedisProcess] = []

    def start(*options: str) -> RedisProcess:
        running.append(RedisProcess(tmp_path, *options))
        running[-1].start()
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
async def client(server: Server) -> AsyncGenerator[redis.asyncio.Redis]:
    client = open_client(server.url, timeout_seconds=5, connections=2, wait_seconds=1)
    yield client
    await client.aclose()


async def test_a_supported_server_is_described(server: Server, namespace: str) -> None:
    store = await Store.open(server.url, namespace=namespace)
    info = await store.check()
    assert info.flavour == ("redis" if server.name.startswith("redis") else "valkey")
    assert int(info.version.split(".")[0]) >= 8
    assert info.persistence == ("aof-unknown" if server.name == EMBEDDED else "memory"), "CONFIG GET is refused"
    assert info.maxmemory_policy == "noeviction"
    assert 0 < info.latency_ms < 1_000
    assert abs(info.clock_offset_ms) < 1_000
    await store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-random"])
async def test_a_server_that_evicts_keys_is_refused_with_the_remedy(start: Start, policy: str) -> None:
    server = start("--maxmemory-policy", policy)
    with pytest.raises(ConfigError) as refused:
        await Store.open(server.url)
    [problem] = refused.value.problems
    assert policy in problem
    assert "CONFIG SET maxmemory-policy noeviction" in problem
    assert server.admin_url.removesuffix("/0") in problem
    with connect(server.url) as client:
        assert client.keys("*") == []
        client.config_set("maxmemory-policy", "noeviction")
    await (await Store.open(server.url)).close()


@pytest.mark.parametrize(
    ("options", "persistence", "warning"),
    [
        (("--appendonly", "no"), "memory", "a restart loses every run; set appendonly yes"),
        (("--appendonly", "no", "--save", "3600 1"), "snapshot", "a crash loses what came after the last one"),
        (("--appendfsync", "always"), "aof-always", None),
        ((), "aof-everysec", None),
    ],
)
async def test_a_server_without_persistence_is_used_with_a_warning(
    start: Start, options: tuple[str, ...], persistence: str, warning: str | None
) -> None:
    server = start(*options)
    store = await Store.open(server.admin_url)
    inspection = await store.prepare()
    assert (inspection.info.persistence, inspection.errors) == (persistence, [])
    if warning is None:
        assert inspection.warnings == []
    else:
        assert [warning in text for text in inspection.warnings] == [True]
    await store.close()


async def test_a_server_that_does_not_show_its_configuration_is_used(start: Start) -> None:
    server = start()
    with connect(server.url) as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+@all", "-config")
        store = await Store.open(server.admin_url.replace("//", "//narrow:pw@"))
        assert (await store.check()).persistence == "aof-unknown"
        assert "pw" not in store.address
        client.config_set("appendonly", "no")
        assert (await store.check()).persistence == "memory"
        client.save()
        assert (await store.check()).persistence == "snapshot"
    await store.close()


async def test_the_first_store_writes_the_layout_and_later_ones_agree(client: redis.asyncio.Redis, namespace: str) -> None:
    await agree_on_layout(client, "address", namespace, 3)
    await agree_on_layout(client, "address", namespace, 3)
    stored: object = await client.hgetall(f"{{{namespace}}}:layout")
    assert stored == {"version": LAYOUT_VERSION, "partitions": "3"}


async def test_another_number_of_partitions_or_layout_is_refused_with_both_values(client: redis.asyncio.Redis, namespace: str) -> None:
    await agree_on_layout(client, "address", namespace, 3)
    await client.hset(f"{{{namespace}}}:layout", "version", "99")
    with pytest.raises(ConfigError) as refused:
        await agree_on_layout(client, "address", namespace, 4)
    version, partitions = refused.value.problems
    assert "layout 99" in version
    assert f"understands {LAYOUT_VERSION}" in version
    assert "PEERFLOW_PARTITIONS (4) must be 3" in partitions


async def test_a_refused_store_leaves_no_connection_behind(start: Start) -> None:
    server = start()
    await (await Store.open(server.url, partitions=2)).close()
    with pytest.raises(ConfigError):
        await Store.open(server.url, partitions=3)
    with connect(server.url) as client:
        assert [row["name"] for row in client.client_list() if row["name"].startswith("peerflow")] == []


async def test_a_server_that_is_not_there_is_unavailable_with_its_address(start: Start) -> None:
    server = start()
    server.close()
    with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{server.port}"):
        await Store.open(server.admin_url.replace("//", "//user:secret@"))


async def test_a_heartbeat_finds_its_server_away_when_it_beats_and_again_when_it_is_back(start: Start) -> None:
    server = start()
    store = await Store.open(server.url)
    server.kill()
    [connection] = store.heartbeat_connections(timeout_seconds=0.5)
    who = Identity("p1", "digest", 10_000)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{server.port}"):
            connection.beat(who, [])
        connection.disconnect()
    server.start()
    assert connection.beat(who, []).standing == "NEW"
    connection.disconnect()
    await store.close()


async def test_a_server_that_freezes_is_unavailable_within_the_time_limit(start: Start) -> None:
    server = start()
    store = Store(server.url, call_timeout_seconds=0.2)
    await store.prepare()
    server.freeze()
    with pytest.raises(StorageUnavailable) as refused:
        await store.check()
    assert "secret" not in str(refused.value)
    server.thaw()
    await store.close()


async def test_a_server_that_restarts_is_prepared_again(start: Start) -> None:
    server = start()
    store = await Store.open(server.url)
    server.kill()
    server.start()
    with pytest.raises(StorageUnavailable):
        await store.prepare()
    assert (await store.prepare()).errors == []
    await store.close()


async def test_inspecting_a_server_reads_only(client: redis.asyncio.Redis, namespace: str, server: Server) -> None:
    await inspect(client, "address")
    with connect(server.url) as raw:
        assert raw.keys(f"{{{namespace}*") == []
