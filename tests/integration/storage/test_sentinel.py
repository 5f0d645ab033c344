"""A store behind Sentinels: it finds the primary, refuses replicas, and lets go of what is no primary any more."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import closing

import pytest

from engine.errors import StorageUnavailable
from storage.connection import open_blocking_client, open_client, topology_of, translated
from storage.server_url import Address
from storage.store import Store
from storage.topology import LAST_SLOT, Route, Told, Topology
from tests.support.redis_cluster import PASSWORD, ask
from tests.support.waiting import wait_until_async
from tests.support.watched import SERVICE, WATCHER, Watched


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Generator[Watched]:
    with closing(Watched(tmp_path_factory.mktemp("watched"))) as watched:
        yield watched


@pytest.fixture
def misled(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Generator[Topology]:
    """What Sentinels would say if they named the replica."""
    topology = topology_of(watched.url)
    assert topology is not None
    replica = watched.second if watched.primary() is watched.first else watched.first
    told = Told(1, ((0, LAST_SLOT, ("127.0.0.1", replica.port)),))

    def say(_: Address) -> Told:
        return told

    monkeypatch.setattr(topology.source, "ask", say)
    yield topology
    topology.close()


async def test_a_replica_is_not_written_to_though_it_is_named(watched: Watched, misled: Topology) -> None:
    client = open_client(watched.url, timeout_seconds=2, connections=1, wait_seconds=1, route=Route(misled))
    blocking = open_blocking_client(watched.url, timeout_seconds=2, route=Route(misled))
    try:
        with pytest.raises(StorageUnavailable, match="is a replica"), translated("address"):
            await client.get("key")
        with pytest.raises(StorageUnavailable, match="is a replica"), translated("address"):
            blocking.get("key")
    finally:
        await client.aclose()
        blocking.close()


@pytest.mark.long
async def test_a_read_that_waits_ends_when_another_server_is_the_primary(watched: Watched, namespace: str) -> None:
    store = await Store.open(watched.url, namespace=namespace)
    before = watched.primary()
    try:
        waiting = asyncio.create_task(store.partitions[0].wait_inbox("pod", 30.0))
        await wait_until_async(lambda: "blpop" in str(ask(before, "CLIENT LIST", raw=True)), "the read waits")
        before.freeze()

        async def goes_on() -> bool:
            try:
                await store.list_runs()
            except StorageUnavailable:
                return False
            return True

        await wait_until_async(goes_on, "the new primary answers", 30)
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(waiting, 5)
    finally:
        before.thaw()
        await store.close()
    watched.wait_until_follows(before)


@pytest.mark.parametrize(
    ("old", "new"),
    [(f"password={WATCHER}", "password=wrong"), (f"/{SERVICE}/0", "/other/0"), (f":{PASSWORD}@", ":wrong@")],
    ids=["Sentinels' password", "service", "servers' password"],
)
async def test_what_is_wrong_is_said_without_a_password(watched: Watched, namespace: str, old: str, new: str) -> None:
    store = Store(watched.url.replace(old, new), namespace=namespace)
    try:
        with pytest.raises(Exception, match=r"(?i)(password pair|no such|auth)") as found:
            await store.prepare()
        assert not [word for word in (PASSWORD, WATCHER, ":wrong@", "=wrong") if word in str(found.value)]
    finally:
        await store.close()
