"""Sentinels as those who know the primary: by the service's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from storage.node_link import NodeLinks
from storage.server_url import Address, ServerUrl
from storage.topology import LAST_SLOT, Told


class Sentinels:
    """A `storage.topology.Source`."""

    checks_role = True

    def __init__(self, url: ServerUrl) -> None:
        self.seeds = url.hosts
        self._service, self._links = url.service, NodeLinks(url)

    def ask(self, node: Address) -> Told | None:
        """Where the service's primary is. Raises redis-py's ResponseError where this Sentinel does not watch that service."""
        reply = cast("Sequence[Any] | dict[Any, Any]", self._links.ask(node, "SENTINEL", "MASTER", self._service))
        facts: dict[str, str] = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        return Told(int(facts["config-epoch"]), ((0, LAST_SLOT, (facts["ip"], int(facts["port"]))),))

    def close(self) -> None:
        self._links.close()
