"""Questions to single nodes: blocking, on connections that are kept, each with a short time limit."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from storage.server_url import Address, ServerUrl

ASK_SECONDS = 0.5
"""For a node's answer, and for the connection before it: a dead one must not hold up what the others can tell."""


class NodeLinks:
    """Not thread-safe."""

    def __init__(self, url: ServerUrl) -> None:
        parse = cast("Callable[[str], dict[str, Any]]", redis.connection.parse_url)
        options = {name: value for name, value in parse(url.node_url).items() if name.startswith("ssl_")}
        username, password = url.asked_as
        self._class = redis.SSLConnection if url.tls else redis.Connection
        self._options: dict[str, Any] = {
            **options,
            "username": username,
            "password": password,
            "decode_responses": True,
            "protocol": 2,
            "socket_timeout": ASK_SECONDS,
            "socket_connect_timeout": ASK_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._links: dict[Address, redis.Connection] = {}

    def ask(self, node: Address, *words: str) -> object:
        """The node's reply. Raises RedisError or OSError; the next question then opens another connection."""
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = self._class(host=node[0], port=node[1], **self._options)
        try:
            if link.is_connected and link.can_read():
                # Nothing was asked: what can be read is the end of a connection that the node closed.
                link.disconnect()
            link.send_command(*words)
            return cast(object, link.read_response())
        except (RedisError, OSError):
            link.disconnect()
            raise

    def close(self) -> None:
        for link in self._links.values():
            link.disconnect()
