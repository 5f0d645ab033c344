"""The servers that integration tests run against: each is started when the first test asks for it, and kept for the session."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.embedded import EmbeddedValkey
from tests.support.access import admin
from tests.support.waiting import wait_until

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
EMBEDDED = "embedded"
IMAGES = {
    # The limit ends a container whose test session was killed before it could. Without snapshots, of which none comes in a short session.
    "redis:8": ["timeout", "3600", "redis-server", "--protected-mode", "no", "--save", ""],
    "valkey/valkey:8": ["timeout", "3600", "valkey-server", "--protected-mode", "no", "--bind", "*", "--save", ""],
}


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    """`embedded`, or the image."""
    url: str
    """Where a test gets it from the fixtures: as the user who may do what peerflow does, in the test's namespace."""


class Servers:
    """Starts each server once; `close` ends all of them, whatever happened in between."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Server] = {}
        self._unavailable: dict[str, str] = {}
        self._exits = ExitStack()

    def get(self, name: str) -> Server:
        """Skips the test where Docker cannot give the server; in CI (`CI=true`) that is a failure instead."""
        if name not in self._running and name not in self._unavailable:
            self._start(name)
        if name in self._unavailable:
            reason = f"{name}: {self._unavailable[name]}"
            if IN_CI:
                pytest.fail(reason)
            pytest.skip(reason)
        return self._running[name]

    def close(self) -> None:
        self._exits.close()

    def _start(self, name: str) -> None:
        if name == EMBEDDED:
            self._running[name] = Server(name, self._embedded())
            return
        try:
            self._running[name] = Server(name, self._container(name))
        except Exception as error:  # noqa: BLE001  # whatever Docker lacks (engine, image, network) is the same answer: not here
            self._unavailable[name] = f"no container: {type(error).__name__}: {error}"
        if name in self._unavailable:
            # Docker's client leaves its socket open where no engine answers; collected later, it would fail some other test.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()

    def _embedded(self) -> str:
        member = EmbeddedValkey.join(self._folder, linger_seconds=0.0)

        def leave() -> None:
            member.leave()
            wait_until(lambda: not answers(member.url), "the embedded server has stopped")

        self._exits.callback(leave)
        return member.url

    def _container(self, image: str) -> str:
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(image).with_command(IMAGES[image]).with_exposed_ports(6379)
        self._exits.callback(container.get_docker_client().client.close)
        self._exits.callback(container.stop)
        container.start()
        url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        wait_until(lambda: answers(url), f"{image} answers", 30)
        return url


def connect(url: str) -> redis.Redis:
    """A client of the test's own, which may do everything, and asks once: what a test sees is what the server did."""
    return redis.Redis.from_url(admin(url), decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def scan(client: redis.Redis, pattern: str) -> list[str]:
    """All keys that match the pattern."""
    return list(cast("Iterable[str]", client.scan_iter(match=pattern, count=1000)))


def answers(url: str) -> bool:
    """Whether the server is up: one that lets no stranger in is."""
    with connect(url) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


def write(url: str, key: str, value: str) -> None:
    with connect(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> object:
    with connect(url) as client:
        return client.get(key)


def server_identity(url: str) -> str:
    with connect(url) as client:
        return client.info("server")["run_id"]
