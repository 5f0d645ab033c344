"""Nodes of a Redis Cluster as those who know which primary serves a slot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from storage.node_link import NodeLinks
from storage.server_url import Address, ServerUrl
from storage.topology import Told

Node = Sequence[Any]
"""Host (empty or None: the node that was asked), port, id, …"""


class Slots:
    """A `storage.topology.Source`."""

    checks_role = False

    def __init__(self, url: ServerUrl) -> None:
        self.seeds = url.hosts
        self._links = NodeLinks(url)

    def ask(self, node: Address) -> Told | None:
        """The slots as this node sees them. Raises redis-py's ResponseError where it is no node of a cluster."""
        epoch = re.search(r"cluster_current_epoch:(\d+)", cast("str", self._links.ask(node, "CLUSTER", "INFO")))
        rows = cast("Sequence[tuple[int, int, *tuple[Node, ...]]]", self._links.ask(node, "CLUSTER", "SLOTS"))
        if epoch is None or not rows:
            # A node that has just been started, or reset.
            return None
        primaries = tuple((first, last, _address(primary, node)) for first, last, primary, *_ in rows)
        nodes = tuple(dict.fromkeys(_address(member, node) for _, _, *members in rows for member in members))
        return Told(int(epoch[1]), primaries, nodes)

    def close(self) -> None:
        self._links.close()


def _address(member: Node, asked: Address) -> Address:
    host, port = member[0], int(member[1])
    # "?" is what a node says of another whose name it has not heard yet.
    return (host if host and host != "?" else asked[0]), port
