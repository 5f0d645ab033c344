"""What is made of the facts that a server gives about itself."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from storage.server import Inspection, inspect, weakest

GOOD: dict[str, Any] = {"redis_version": "8.8.1", "aof_enabled": 1, "maxmemory_policy": "noeviction"}


class Server:
    def __init__(self, facts: dict[str, Any], configured: dict[str, str] | None) -> None:
        self._facts, self._configured = facts, configured

    async def info(self, section: str) -> dict[str, Any]:
        assert section == "everything"
        return self._facts

    async def time(self) -> tuple[int, int]:
        return 1_700_000_000, 0

    async def config_get(self, *_names: str) -> dict[str, str]:
        if self._configured is None:
            raise NoPermissionError
        return self._configured


async def inspected(configured: dict[str, str] | None = None, **facts: Any) -> Inspection:
    client: Any = Server(GOOD | facts, configured)
    return await inspect(client, "redis://h")


@pytest.mark.parametrize(
    ("facts", "flavour", "version"),
    [
        ({}, "redis", "8.8.1"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "valkey", "9.1.2"),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.10"}, "valkey", "8.0.10"),
        ({"redis_version": "7.2.15"}, "redis", "7.2.15"),
    ],
)
async def test_a_server_that_is_new_enough_is_used(facts: dict[str, Any], flavour: str, version: str) -> None:
    inspection = await inspected({"appendfsync": "everysec", "save": ""}, **facts)
    assert (inspection.info.flavour, inspection.info.version) == (flavour, version)
    assert (inspection.errors, inspection.warnings) == ([], [])


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"redis_version": "6.2.14"}, "redis 6.2.14"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.6"}, "valkey 7.2.6"),
        ({"redis_version": ""}, "redis 0"),
        ({"redis_version": "unstable"}, "redis unstable"),
    ],
)
async def test_a_server_that_is_too_old_is_refused_with_what_is_needed(facts: dict[str, Any], text: str) -> None:
    [error] = (await inspected({}, **facts)).errors
    assert text in error
    assert "Redis 7 or Valkey 8, or newer" in error


@pytest.mark.parametrize(
    ("configured", "facts", "persistence"),
    [
        ({"appendfsync": "always", "save": ""}, {}, "aof-always"),
        (None, {}, "aof-unknown"),
        ({"save": "3600 1"}, {"aof_enabled": 0}, "snapshot"),
        ({"save": ""}, {"aof_enabled": 0, "rdb_saves": 5}, "memory"),
        (None, {"aof_enabled": 0, "rdb_saves": 5}, "snapshot"),
        (None, {"aof_enabled": 0, "rdb_saves": 0}, "memory"),
    ],
)
async def test_persistence_is_what_is_configured_or_else_what_was_seen(
    configured: dict[str, str] | None, facts: dict[str, Any], persistence: str
) -> None:
    assert (await inspected(configured, **facts)).info.persistence == persistence


async def test_a_policy_that_is_not_told_is_not_held_against_the_server() -> None:
    client: Any = Server({"redis_version": "8.0.0", "aof_enabled": 1}, None)
    inspection = await inspect(client, "redis://h")
    assert (inspection.info.maxmemory_policy, inspection.errors) == ("unknown", [])


async def test_a_server_that_is_old_and_evicts_is_refused_for_both() -> None:
    assert len((await inspected({}, redis_version="6.0.0", maxmemory_policy="allkeys-lru")).errors) == 2


async def test_the_clocks_difference_is_told_in_ms() -> None:
    assert (await inspected({})).info.clock_offset_ms < -1_000_000


async def test_of_several_servers_the_worst_of_each_fact_is_told_with_all_that_is_wrong() -> None:
    good = await inspected({"appendfsync": "always", "save": ""})
    bad = await inspected({"appendfsync": "everysec", "save": ""}, redis_version="6.2.14", maxmemory_policy="allkeys-lru")
    worst = await inspected({"appendfsync": "", "save": ""}, redis_version="10.0.0", aof_enabled=0)
    found = weakest([good, bad, worst])
    assert (found.info.version, found.info.persistence, found.info.maxmemory_policy) == ("6.2.14", "memory", "allkeys-lru")
    assert (found.errors, found.warnings) == (bad.errors, bad.warnings + worst.warnings)
    assert len(bad.errors) == 2
    assert weakest([good]).info == good.info


async def test_a_node_of_a_cluster_is_refused_where_it_is_taken_for_the_only_server() -> None:
    client: Any = Server(GOOD | {"cluster_enabled": 1}, None)
    assert "use redis+cluster://" in (await inspect(client, "redis://h")).errors[0]
    assert (await inspect(client, "redis://h", cluster=True)).errors == []


async def test_what_could_not_be_looked_at_is_a_warning() -> None:
    [warning] = (await inspected(None)).warnings
    assert "appendfsync" in warning
    assert "could not be checked" in warning
    [warning] = (await inspected(None, aof_enabled=0)).warnings
    assert "does not let peerflow look whether it writes snapshots" in warning
    [warning] = (await inspected({"appendfsync": "always", "save": ""}, maxmemory_policy="unknown")).warnings
    assert "maxmemory-policy must be noeviction" in warning


async def test_a_server_with_a_published_flaw_is_used_with_a_warning_that_names_the_mended_version() -> None:
    inspection = await inspected({"appendfsync": "always", "save": ""}, redis_version="8.2.7")
    assert inspection.errors == []
    [warning] = inspection.warnings
    assert warning.startswith("the server at redis://h: redis 8.2.7 has published flaws")
    assert "CVE-2026-12087" in warning
    assert "8.2.8" in warning
