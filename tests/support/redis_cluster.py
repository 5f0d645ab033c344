"""A Redis Cluster of a test's own: three primaries, and one replica for the first of them."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from storage.acl import COMMANDS
from tests.support.pods import free_port
from tests.support.redis_process import RedisProcess
from tests.support.servers import connect
from tests.support.waiting import wait_until

SLOTS = 16_384
PASSWORD = "s3cret"
NODE_TIMEOUT_MS = 2_000
USER = ("--user", "app", "on", f">{PASSWORD}", "~*", "resetchannels", "-@all", *(f"+{command}" for command in (*COMMANDS, "config|get")))
"""Whom pods come in as: with the rights that they ask for and a look at how the server writes, on all keys."""


class RedisCluster:
    """Started by the constructor; `close` ends all nodes, whatever state they are in."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.nodes: list[RedisProcess] = []
        try:
            self._start(folder, options)
        except BaseException:
            self.close()
            raise

    def _start(self, folder: Path, options: tuple[str, ...]) -> None:
        buses = [free_port() for _ in range(4)]
        nodes = self.nodes
        for number, bus in enumerate(buses):
            (folder / f"node-{number}").mkdir()
            cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
            nodes.append(RedisProcess(folder / f"node-{number}", *cluster, "--repl-diskless-sync-delay", "0", *USER, *options))
            nodes[-1].start()
        self.primaries, self.replica = nodes[:3], nodes[3]
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            ask(nodes[0], "CLUSTER MEET", "127.0.0.1", node.port, bus)
        for number, node in enumerate(self.primaries):
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            ask(node, "CLUSTER ADDSLOTSRANGE", first, last)
        wait_until(lambda: all(len(_lines(node)) == 4 for node in nodes), "all nodes know each other", 30)
        ask(self.replica, "CLUSTER REPLICATE", node_id(self.primaries[0]))
        wait_until(
            lambda: all("cluster_state:ok" in str(ask(node, "CLUSTER INFO", raw=True)) for node in nodes), "the cluster is there", 30
        )
        wait_until(lambda: _told(self.replica, "master_link_status") == "up", "the replica follows", 30)
        self.url = f"redis+cluster://app:{PASSWORD}@{','.join(f'127.0.0.1:{node.port}' for node in self.primaries)}"

    def owner_of(self, slot: int) -> RedisProcess:
        """Which primary serves a slot, as the first node that answers says."""
        return next(node for node in self.nodes if node.alive and not node.frozen and serves(node, slot))

    def move(self, slot: int, to: RedisProcess, *, while_on_its_way: Any = None) -> None:
        """Moves a slot with its keys, as a resharding does: node by node, key by key."""
        source = self.owner_of(slot)
        ask(to, "CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
        ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", node_id(to))
        if while_on_its_way is not None:
            while_on_its_way()
        while keys := ask(source, "CLUSTER GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.primaries):
            ask(node, "CLUSTER SETSLOT", slot, "NODE", node_id(to))

    def move_at_once(self, slot: int, to: RedisProcess) -> None:
        """Moves a slot as Valkey 9 does by itself: in the background, and all of it in one moment."""
        ask(self.owner_of(slot), "CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id(to))
        wait_until(lambda: serves(to, slot), f"slot {slot} has moved", 30)

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def ask(node: RedisProcess, command: str, *args: object, raw: bool = False) -> Any:
    with connect(node.url) as client:
        if raw:
            client.response_callbacks.clear()
        return cast(object, client.execute_command(command, *args))


def node_id(node: RedisProcess) -> str:
    return str(ask(node, "CLUSTER MYID"))


def serves(node: RedisProcess, slot: int) -> bool:
    rows = ask(node, "CLUSTER SLOTS", raw=True)
    return any(first <= slot <= last and owner[1] == node.port for first, last, owner, *_ in rows)


def _lines(node: RedisProcess) -> list[str]:
    return str(ask(node, "CLUSTER NODES", raw=True)).strip().splitlines()


def _told(node: RedisProcess, fact: str) -> object:
    with connect(node.url) as client:
        return client.info("replication").get(fact)
