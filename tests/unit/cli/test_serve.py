"""`serve`: settings from options, ports that are taken, and what child pods inherit."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest

from engine.errors import ConfigError
from peerflow.cli.demo import EXAMPLE, EXAMPLE_FILE
from peerflow.cli.files import read_document
from peerflow.cli.pod_processes import check_ports, child_environment
from peerflow.settings import Settings
from tests.unit.cli.conftest import Cli


@pytest.fixture
def taken_port() -> Generator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_taken_port_is_named_with_the_remedy(taken_port: int) -> None:
    with pytest.raises(ConfigError, match=f"port {taken_port} of 127.0.0.1 is in use; choose another with --port"):
        check_ports("127.0.0.1", [0, taken_port])


def test_ports_past_the_last_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs ports up to 65537"):
        check_ports("127.0.0.1", [65_535, 65_536, 65_537])


def test_foreign_address_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"):
        check_ports("192.0.2.1", [8000])


def test_child_pods_inherit_what_the_command_line_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEERFLOW_TASKS", raising=False)
    settings = Settings.load({"redis_url": "redis://:secret@host:6379/0", "tasks": ("a", "b.c"), "concurrency": 7, "host": "127.0.0.2"})
    environment = child_environment(settings)
    assert environment["PEERFLOW_REDIS_URL"] == "redis://:secret@host:6379/0"
    assert environment["PEERFLOW_TASKS"] == "a,b.c"
    assert environment["PEERFLOW_CONCURRENCY"] == "7"
    assert environment["PEERFLOW_HOST"] == "127.0.0.2"


def test_wrong_options_are_reported_together(cli: Cli) -> None:
    ended = cli("serve", "--port", "70000", "--redis-url", "http://x", "--concurrency", "0")
    assert ended.status == 2
    for text in ("--port (70000)", "--redis-url (http://x)", "--concurrency (0)"):
        assert text in ended.err


def test_several_pods_on_a_taken_port_do_not_start(cli: Cli, taken_port: int) -> None:
    ended = cli("serve", "--pods", "2", "--port", str(taken_port))
    assert ended.status == 2
    assert f"port {taken_port} of 127.0.0.1 is in use" in ended.err


def test_demo_runs_the_example_file_or_the_same_without_it() -> None:
    from engine.strict_json import parse

    assert parse(read_document(str(EXAMPLE_FILE)).body) == EXAMPLE
