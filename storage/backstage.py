"""What a test does to a server behind its pods' backs: shifts the scripts' clock, looks at everything at once, cuts connections.

Nothing of this is loaded by a pod in production.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from storage.connection import open_blocking_client, translated
from storage.keys import Keys
from storage.scripts import LUA, without_comments
from storage.server_url import address_of

TESTING = LUA / "testing"
TIMEOUT_SECONDS = 10.0
CLOCK_READ = "local now = math.floor(now_us / 1000)\n"
"""The prelude's line behind which the clock is shifted."""


def shifted(name: str, source: str) -> str:
    """A script whose clock runs ahead of the server's by what `Backstage.advance` says; a rewrite for `storage.gate.Scripts`."""
    if CLOCK_READ not in source:
        raise ValueError(f"script {name} does not read the clock as the prelude does")
    return source.replace(CLOCK_READ, CLOCK_READ + without_comments((TESTING / "shift.lua").read_text(encoding="utf-8")) + "\n", 1)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One moment of all partitions."""

    now_ms: int
    deadlines: dict[str, int]
    """Pod → its deadline, ms."""
    claims: dict[str, int]
    """Pod → claims that it holds in Redis."""
    ready: dict[str, int]
    """Lane `queue/function` → entries of the ready queue."""
    timers: list[tuple[int, str]]
    """(due ms, member) in order."""

    def next_timer_of(self, run_id: str) -> int | None:
        """When the run's next timer is due, ms; its being forgotten is none."""
        return next((due for due, member in self.timers if f" {run_id}" in member and not member.startswith(("forget ", "unlist "))), None)


class Backstage:
    """One namespace of a server, on a blocking connection of its own. Not thread-safe."""

    def __init__(self, url: str, namespace: str, partitions: int) -> None:
        self._client: redis.Redis = open_blocking_client(url, timeout_seconds=TIMEOUT_SECONDS)
        self._namespace = namespace
        self._prefixes = [Keys(namespace, number).prefix for number in range(partitions)]
        self._address = address_of(url)

    def advance(self, milliseconds: int) -> None:
        """The clock of all scripts jumps by so much, and every key's time to live becomes shorter by it; back where it is negative.

        Only scripts rewritten by `shifted` see it.
        """
        for prefix in self._prefixes:
            self._run("advance", prefix, milliseconds, f"{prefix}*")

    def glimpse(self) -> Glimpse:
        """What may make something happen now or later."""
        found = [self._run("glimpse", prefix) for prefix in self._prefixes]
        claims: dict[str, int] = {}
        deadlines: dict[str, int] = {}
        ready: dict[str, int] = {}
        timers: list[tuple[int, str]] = []
        for _, pods, lanes, due in found:
            for pod, deadline, held in _grouped(pods, 3):
                deadlines[pod] = int(deadline)
                claims[pod] = claims.get(pod, 0) + held
            for lane, count in _grouped(lanes, 2):
                ready[lane] = ready.get(lane, 0) + count
            timers += [(int(score), member) for member, score in _grouped(due, 2)]
        return Glimpse(int(found[0][0]), deadlines, claims, ready, sorted(timers))

    def sever(self, client_name: str) -> None:
        """Cuts all connections of the clients of that name, as the end of their process does."""
        with translated(self._address):
            for client in self._client.client_list():
                if client["name"] == client_name:
                    try:
                        self._client.client_kill_filter(_id=client["id"])
                    except redis.ResponseError:
                        continue  # it has just closed it itself

    def forget_scripts(self) -> None:
        """The server knows no script any more, as after a restart."""
        with translated(self._address):
            self._client.script_flush()

    def keys(self) -> dict[str, int]:
        """Every key of the namespace → ms that it has left to live, -1 for ever."""
        with translated(self._address):
            names = list(cast("Iterable[str]", self._client.scan_iter(match=f"{{{self._namespace}[:}}]*", count=1000)))
            lives = [self._client.pttl(name) for name in names]
        return {name: left for name, left in zip(names, lives, strict=True) if left != -2}

    def forget_timers(self) -> None:
        """Loses every timer, as no correct server does: to see whether a test notices."""
        with translated(self._address):
            for prefix in self._prefixes:
                self._client.delete(f"{prefix}timers")

    def clear(self) -> None:
        """Deletes every key of the namespace."""
        names = list(self.keys())
        with translated(self._address):
            for at in range(0, len(names), 1000):
                self._client.delete(*names[at : at + 1000])

    def close(self) -> None:
        self._client.close()
        self._client.connection_pool.disconnect()

    def _run(self, name: str, prefix: str, *args: str | int) -> Any:
        text = (TESTING / f"{name}.lua").read_text(encoding="utf-8")
        with translated(self._address):
            return self._client.eval(text, 1, prefix, *args)


def _grouped(flat: Sequence[Any], width: int) -> Iterable[Sequence[Any]]:
    return (flat[at : at + width] for at in range(0, len(flat), width))
