"""`serve`: settings from options, ports that are taken, and what child pods inherit."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest

from engine.errors import ConfigError
from peerflow.cli.demo import EXAMPLE, EXAMPLE_FILE
from peerflow.cli.files import read_document
from peerflow.cli.pod_environment import child_environment
from peerflow.listener import listen
from peerflow.settings import Settings
from tests.unit.cli.conftest import Cli


@pytest.fixture
def taken_port() -> Generator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_taken_port_is_named_with_the_remedy(taken_port: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{taken_port}: .*choose another port with --port"):
        listen("127.0.0.1", taken_port)


def test_foreign_address_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:8000"):
        listen("192.0.2.1", 8000)


def test_child_pods_inherit_what_the_command_line_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEERFLOW_TASKS", raising=False)
    settings = Settings.load({"redis_url": "redis://:secret@host:6379/0", "tasks": ("a", "b.c"), "concurrency": 7, "host": "127.0.0.2"})
    environment = child_environment(settings, 2, terminal=False)
    assert environment["PEERFLOW_REDIS_URL"] == "redis://:secret@host:6379/0"
    assert environment["PEERFLOW_TASKS"] == "a,b.c"
    assert environment["PEERFLOW_CONCURRENCY"] == "7"
    assert environment["PEERFLOW_HOST"] == "127.0.0.2"
    assert environment["PEERFLOW_LOG_FORMAT"] == "auto"


def test_child_pods_share_the_processors_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEERFLOW_PROCESSES", raising=False)
    settings = Settings.load()
    assert child_environment(settings, 1, terminal=False)["PEERFLOW_PROCESSES"] == str(settings.processes)
    assert child_environment(settings, 10_000, terminal=False)["PEERFLOW_PROCESSES"] == "1"
    monkeypatch.setenv("PEERFLOW_PROCESSES", "5")
    assert child_environment(Settings.load(), 3, terminal=False)["PEERFLOW_PROCESSES"] == "5"


def test_child_pods_write_text_where_a_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEERFLOW_LOG_FORMAT", raising=False)
    assert child_environment(Settings.load(), 2, terminal=True)["PEERFLOW_LOG_FORMAT"] == "text"


def test_wrong_options_are_reported_together(cli: Cli) -> None:
    ended = cli("serve", "--port", "70000", "--redis-url", "http://x", "--concurrency", "0")
    assert ended.status == 2
    for text in ("--port (70000)", "--redis-url (http://x)", "--concurrency (0)"):
        assert text in ended.err


def test_several_pods_on_a_taken_port_do_not_start(cli: Cli, taken_port: int) -> None:
    ended = cli("serve", "--pods", "2", "--port", str(taken_port))
    assert ended.status == 2
    assert f"cannot listen on 127.0.0.1:{taken_port}" in ended.err


def test_demo_runs_the_example_file_or_the_same_without_it() -> None:
    from engine.strict_json import parse

    assert parse(read_document(str(EXAMPLE_FILE)).body) == EXAMPLE
