"""What kind of server this is, and whether it may hold runs."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio
from redis.exceptions import ResponseError

from engine.errors import ConfigError
from storage.connection import translated
from storage.flaws import flaw_of
from storage.keys import layout_key
from storage.views import ServerInfo

LAYOUT_VERSION = "1"
MINIMUM = {"redis": 7, "valkey": 8}


@dataclass(frozen=True, slots=True)
class Inspection:
    info: ServerInfo
    errors: list[str]
    """Why this server must not be used."""
    warnings: list[str]
    """What its operator should know."""


async def inspect(client: redis.asyncio.Redis, address: str, *, cluster: bool = False) -> Inspection:
    """Reads version, persistence, eviction policy, latency and clock of the server. `cluster`: it is asked for as one of a cluster."""
    with translated(address):
        facts = cast("Mapping[str, Any]", await client.info("everything"))
        started = time.time()
        seconds, micros = await client.time()
        took = time.time() - started
        configured = await _configured(client)
    flavour = "valkey" if facts.get("server_name") == "valkey" or "valkey_version" in facts else "redis"
    version = str(facts.get("valkey_version") or facts.get("redis_version") or "0")
    policy = str(facts.get("maxmemory_policy", "unknown"))
    info = ServerInfo(
        flavour=flavour,
        version=version,
        persistence=_persistence(facts, configured),
        maxmemory_policy=policy,
        latency_ms=round(took * 1000, 3),
        clock_offset_ms=round((seconds + micros / 1e6 - started - took / 2) * 1000, 3),
    )
    errors = [_too_old(address, info)] if _major(version) < MINIMUM[flavour] else []
    if policy not in {"noeviction", "unknown"}:
        errors.append(
            f"the server at {address} has maxmemory-policy {policy}, which may evict leases and runs; set it to noeviction "
            "(CONFIG SET maxmemory-policy noeviction, and in the server's configuration file)"
        )
    if facts.get("cluster_enabled") and not cluster:
        errors.append(
            f"the server at {address} is one of a cluster and has only a part of the keys; use redis+cluster://, or rediss+cluster://"
        )
    flaw = flaw_of(flavour, version)
    warnings = [f"the server at {address}: {flaw}"] if flaw else []
    if policy == "unknown":
        warnings.append(f"the server at {address} does not say what it does when it is full; its maxmemory-policy must be noeviction")
    if info.persistence == "aof-unknown":
        warnings.append(
            f"the server at {address} does not let peerflow look at appendfsync (CONFIG GET); that it is everysec or always could not be "
            "checked"
        )
    elif info.persistence == "memory" and not configured:
        warnings.append(
            f"the server at {address} writes no append-only file, and does not let peerflow look whether it writes snapshots (CONFIG GET): "
            "a restart may lose every run; set appendonly yes"
        )
    elif info.persistence == "memory":
        warnings.append(f"the server at {address} keeps nothing on disk: a restart loses every run; set appendonly yes")
    elif info.persistence == "snapshot":
        warnings.append(f"the server at {address} writes snapshots only: a crash loses what came after the last one; set appendonly yes")
    return Inspection(info, errors, warnings)


def weakest(found: Sequence[Inspection]) -> Inspection:
    """All servers of a cluster as one: of each fact the worst, all errors and warnings. `found` is not empty."""
    infos = [inspection.info for inspection in found]
    info = ServerInfo(
        flavour=infos[0].flavour,
        version=min((info.version for info in infos), key=_numbers),
        persistence=max((info.persistence for info in infos), key=_risk),
        maxmemory_policy=max((info.maxmemory_policy for info in infos), key=_harm),
        latency_ms=max(info.latency_ms for info in infos),
        clock_offset_ms=max((info.clock_offset_ms for info in infos), key=abs),
    )
    return Inspection(info, [text for each in found for text in each.errors], [text for each in found for text in each.warnings])


async def agree_on_layout(client: redis.asyncio.Redis, address: str, namespace: str, partitions: int) -> None:
    """Writes this namespace's layout where there is none, and raises ConfigError where there is another one."""
    key = layout_key(namespace)
    with translated(address):
        await client.hsetnx(key, "version", LAYOUT_VERSION)
        await client.hsetnx(key, "partitions", str(partitions))
        stored = cast("dict[str, str]", await client.hgetall(key))
    problems: list[str] = []
    if stored.get("version") != LAYOUT_VERSION:
        problems.append(
            f"the data of namespace {namespace!r} at {address} have layout {stored.get('version')}, this version understands "
            f"{LAYOUT_VERSION}; use another PEERFLOW_NAMESPACE, or the version that wrote them"
        )
    if stored.get("partitions") != str(partitions):
        problems.append(
            f"PEERFLOW_PARTITIONS ({partitions}) must be {stored.get('partitions')}, as namespace {namespace!r} at {address} was made; "
            "set it so, or use another PEERFLOW_NAMESPACE"
        )
    if problems:
        raise ConfigError(problems)


async def _configured(client: redis.asyncio.Redis) -> Mapping[str, str]:
    try:
        return cast("Mapping[str, str]", await client.config_get("appendfsync", "save"))
    except ResponseError:
        # Managed servers and narrow ACLs do not let us look.
        return {}


def _persistence(facts: Mapping[str, Any], configured: Mapping[str, str]) -> str:
    if facts.get("aof_enabled"):
        return f"aof-{configured.get('appendfsync', 'unknown')}"
    # Without a look at `save`: a server that has written a snapshot will write more.
    saves = configured["save"] if "save" in configured else facts.get("rdb_saves")
    return "snapshot" if saves else "memory"


def _risk(persistence: str) -> int:
    """How much of a server with such persistence may be lost, by rank."""
    ranks = ("aof-always", "aof-everysec", "aof-unknown", "aof-no", "snapshot", "memory")
    return ranks.index(persistence) if persistence in ranks else len(ranks)


def _harm(policy: str) -> int:
    return {"noeviction": 0, "unknown": 1}.get(policy, 2)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _major(version: str) -> int:
    head = version.split(".", 1)[0]
    return int(head) if head.isdigit() else 0


def _too_old(address: str, info: ServerInfo) -> str:
    return f"the server at {address} is {info.flavour} {info.version}; peerflow needs Redis 7 or Valkey 8, or newer"
