"""Connections to the server, and what its errors mean.

redis-py re-sends commands on its own by default, up to ten times: a claim sent twice takes two batches. Every client made here sends
once; repeating is the caller's decision, with the same operation id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from engine.errors import ConfigError, StorageCorrupt, StorageRefused, StorageUnavailable
from storage import tls
from storage.routed import RoutedBlockingConnection, RoutedBlockingSSLConnection, RoutedConnection, RoutedSSLConnection
from storage.script_client import ScriptClient
from storage.sentinels import Sentinels
from storage.server_url import ServerUrl, scheme_of
from storage.slots import Slots
from storage.topology import Route, Topology

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
REFUSED = ("OOM", "MISCONF", "NOREPLICAS", "NOPERM", "NOAUTH", "WRONGPASS")
"""The server answered and did nothing; it will say the same until an operator acts."""
ACL_REMEDY = "give it the rights that `peerflow redis-acl` prints"
NOT_NOW = ("LOADING", "BUSY", "MASTERDOWN", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "UNBLOCKED", "MOVED", "ASK")
"""The server answered and did nothing; it, or its successor, will be able to."""


def check_url(url: str) -> None:
    """Raises ConfigError for a URL that no client here understands, or that would not be safe."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise ConfigError(
            [
                f"redis_url: scheme {scheme!r} is not supported; use redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://"
            ]
        )
    if problems := tls.problems(url):
        raise ConfigError(problems)


def topology_of(url: str) -> Topology | None:
    """Who knows the primary, where the URL does not name it. Raises ConfigError for a URL that is not understood."""
    check_url(url)
    try:
        parts = ServerUrl.parse(url)
    except ValueError as error:
        raise ConfigError([f"redis_url: {error}"]) from None
    if parts.kind == "server":
        return None
    return Topology(Sentinels(parts) if parts.kind == "sentinel" else Slots(parts))


def open_client(
    url: str, *, timeout_seconds: float, connections: int, wait_seconds: float, name: str = "peerflow", route: Route | None = None
) -> redis.asyncio.Redis:
    """An asyncio client; `timeout_seconds` bounds each wait for the server. `route` leads to it where the URL does not name it.

    A caller that finds all `connections` in use waits up to `wait_seconds` for one: a burst of requests queues here, instead of failing.
    """
    node_url, routed = _way(url, route, "loop")
    pool = redis.asyncio.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        node_url,
        timeout=wait_seconds,
        decode_responses=True,
        protocol=2,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=min(timeout_seconds, 5.0),
        retry=AsyncRetry(NoBackoff(), 0),
        max_connections=connections,
        client_name=name,
        **routed,
        driver_info=None,
    )
    if url.startswith("rediss:"):
        pool.connection_class = tls.Connection
    return ScriptClient(pool, connections=connections, timeout_seconds=timeout_seconds, wait_seconds=wait_seconds)


def open_blocking_client(url: str, *, timeout_seconds: float, name: str = "peerflow-heartbeat", route: Route | None = None) -> redis.Redis:
    """A blocking client for one thread, on a connection of its own that its first call opens."""
    node_url, routed = _way(url, route, "thread")
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        node_url,
        decode_responses=True,
        protocol=2,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        client_name=name,
        **routed,
        driver_info=None,
    )


def _way(url: str, route: Route | None, where: Literal["loop", "thread"]) -> tuple[str, dict[str, Any]]:
    """The URL of a single server, and the kind of connection that finds it where the caller's URL does not name it."""
    if route is None:
        topology = topology_of(url)
        if topology is None:
            return url, {}
        route = Route(topology)
    parts = ServerUrl.parse(url)
    if where == "loop":
        return parts.node_url, {"connection_class": RoutedSSLConnection if parts.tls else RoutedConnection, "route": route}
    return parts.node_url, {"connection_class": RoutedBlockingSSLConnection if parts.tls else RoutedBlockingConnection, "route": route}


@contextmanager
def translated(address: str) -> Generator[None]:
    """Turns redis-py's exceptions into ours: unavailable (unknown outcome or not now), refused (nothing applied), corrupt."""
    try:
        yield
    except (BusyLoadingError, RedisTimeoutError, MaxConnectionsError) as error:
        raise StorageUnavailable(address, error) from error
    except AuthenticationError as error:
        raise StorageRefused(str(error)) from error
    except RedisConnectionError as error:
        raise StorageUnavailable(address, tls.meaning(error) or error) from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise StorageUnavailable(address, tls.meaning(error) or error) from error
    except ResponseError as error:
        raise _meaning(address, error) from error
    except RedisError as error:
        raise StorageUnavailable(address, error) from error


def _meaning(address: str, error: ResponseError) -> Exception:
    # redis-py strips the code of errors that it has a class for (`ReadOnlyError`, `OutOfMemoryError`): look at both.
    text, name = str(error), type(error).__name__.upper().removesuffix("ERROR")
    aliases: dict[str, str] = {"OUTOFMEMORY": "OOM", "NOPERMISSION": "NOPERM", "MASTERDOWN": "MASTERDOWN"}
    word = aliases.get(name, text.split(" ", 1)[0])
    if word == "NOPERM" or text.startswith("ACL failure"):
        return StorageRefused(f"{text}; if this is peerflow's user, {ACL_REMEDY}")
    if word in REFUSED or any(f" {code} " in f" {text} " for code in ("OOM", "MISCONF", "NOREPLICAS")):
        return StorageRefused(text)
    if word in NOT_NOW or name in NOT_NOW:
        return StorageUnavailable(address, error)
    return StorageCorrupt(text)


@dataclass(frozen=True, slots=True)
class Connections:
    """Of one client, at this moment."""

    in_use: int
    """Those that calls are on."""
    open: int


def connections_of(client: Any) -> Connections | None:
    """Of script calls, and of everything else; None where the client does not tell."""
    try:
        pool: Any = client.connection_pool
        # redis-py keeps these lists, and shows them nowhere.
        used, free = len(pool._in_use_connections), sum(free.is_connected for free in pool._available_connections)  # noqa: SLF001
        calls = cast("tuple[int, int]", client.script_connections())
    except AttributeError:
        return None
    return Connections(used + calls[0], used + free + calls[1])


async def close(client: Any) -> None:
    """Closes a client and its connections; errors of a server that is gone are not news."""
    try:
        await client.aclose()
    except (RedisError, OSError):
        return
