"""What stands between a store and its server in tests: scripts are rewritten, errors are those that the client would raise."""

from __future__ import annotations

import pytest

from engine.errors import StorageRefused, StorageUnavailable
from peerflow.testing.faults import ERRORS
from storage.backstage import shifted
from storage.connection import NOT_NOW, REFUSED, translated
from storage.gate import OpenGate, Scripts, connection_lost, error_reply
from storage.scripts import NAMES, all_scripts, digest


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_reply_means_what_the_servers_own_would_mean(code: str) -> None:
    expected = StorageRefused if code in REFUSED else StorageUnavailable
    assert code in REFUSED + NOT_NOW
    with pytest.raises(expected), translated("redis://nowhere"):
        raise error_reply(f"{code} the test says so")


def test_a_lost_connection_leaves_the_outcome_unknown() -> None:
    with pytest.raises(StorageUnavailable), translated("redis://nowhere"):
        raise connection_lost("cut")


async def test_an_open_gate_lets_everything_pass() -> None:
    async def answer() -> str:
        return "answer"

    assert await OpenGate().call("claim", (), answer) == "answer"
    assert OpenGate().call_blocking("heartbeat", (), lambda: "answer") == "answer"


def test_scripts_that_nobody_rewrites_are_sent_as_they_are() -> None:
    scripts = Scripts()
    for name, source in all_scripts():
        assert scripts.named(digest(name)) == (name, digest(name))
        assert scripts.text(source) == source


def test_rewritten_scripts_are_known_by_the_digest_of_the_original() -> None:
    scripts = Scripts(shifted, lambda name, text: text + f"-- {name}\n")
    assert len({scripts.named(digest(name))[1] for name in NAMES} - {digest(name) for name in NAMES}) == len(NAMES)
    for name, source in all_scripts():
        assert scripts.named(digest(name))[0] == name
        assert scripts.text(source) == shifted(name, source) + f"-- {name}\n"
