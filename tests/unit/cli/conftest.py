"""The command line run in this process, against pods that answer from a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from peerflow.cli import follow
from peerflow.cli.app import run
from tests.support.fake_pod import FakePods


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str


Cli = Callable[..., Ended]


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> FakePods:
    """Every connection of httpx ends here."""
    fake = FakePods()

    def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        del transport
        return fake.handle(request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    for name in ("PEERFLOW_URL", "PEERFLOW_API_KEY", "PEERFLOW_API_KEY_FILE", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    # Nothing here happens between two looks at a run.
    monkeypatch.setattr(follow, "FIRST_PAUSE_SECONDS", 0.001)
    return fake


@pytest.fixture
def cli(pods: FakePods, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("status", run_id)` → what the command left."""
    del pods

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        status = run(arguments)
        printed = capsys.readouterr()
        return Ended(status, printed.out, printed.err)

    return call
