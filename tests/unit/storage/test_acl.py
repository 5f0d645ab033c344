"""The ACL user may do what the code does: no command less, or a script stops half way, and none more."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import acl
from storage.keys import Keys, layout_key
from tests.support.commands import from_clients, in_scripts, sent_by

FILE = Path(__file__).parents[3] / "deploy" / "redis" / "users.acl"
NOT_GIVEN = {"config|get"}
"""Tried, and done without."""
DANGEROUS = frozenset(
    {
        "acl", "cluster", "config", "debug", "dump", "eval", "failover", "fcall", "flushall", "flushdb", "function", "keys", "migrate",
        "module", "monitor", "psync", "publish", "randomkey", "replicaof", "restore", "save", "scan", "shutdown", "slaveof", "sort",
        "subscribe", "sync",
    }
)  # fmt: skip


def test_the_commands_of_the_list_are_those_that_scripts_call() -> None:
    assert sorted(in_scripts()) == list(acl.IN_SCRIPTS)


def test_the_commands_of_the_list_are_those_that_modules_send() -> None:
    assert sorted(from_clients() - NOT_GIVEN) == list(acl.FROM_CLIENTS)
    assert from_clients() >= NOT_GIVEN


@pytest.mark.parametrize(
    ("code", "commands"),
    [
        ("await self._client.hgetall(key)", {"hgetall"}),
        ("client.script_load(text)", {"script|load"}),
        ("pipeline = self._client.pipeline()\npipeline.get(key)", {"multi", "exec", "get"}),
        ("self._client.pipeline(transaction=False).execute()", set[str]()),
        ("self._inbox.execute_command('CLIENT KILL', 1)", {"client|kill"}),
        ("{}.get(key)", set[str]()),
    ],
)
def test_what_a_module_sends_is_read_from_its_calls(code: str, commands: set[str]) -> None:
    assert sent_by(code) == commands


def test_a_command_that_is_made_up_at_run_time_is_refused_by_the_reader() -> None:
    with pytest.raises(AssertionError, match="line 1"):
        sent_by("client.execute_command(name)")


def test_no_command_of_the_list_reaches_beyond_keys() -> None:
    assert not DANGEROUS & {command.split("|")[0] for command in acl.COMMANDS if command not in {"cluster|info", "cluster|slots"}}


def test_every_command_is_tried_when_a_pod_starts() -> None:
    assert [" ".join(trial.split(" ")[: name.count("|") + 1]) for name, trial in zip(acl.COMMANDS, acl.trials(), strict=True)] == [
        name.replace("|", " ") for name in acl.COMMANDS
    ]


def test_the_patterns_hold_every_key_of_the_namespace() -> None:
    # Nothing in a namespace's name, nor between its braces, means anything to the server's patterns but the star.
    assert acl.patterns("pf") == ("~{pf}:*", "~{pf:*}:*")
    assert layout_key("pf").startswith("{pf}:")
    assert Keys("pf", 12).prefix == "{pf:12}:"


def test_the_file_that_is_delivered_is_current_and_lets_nobody_in() -> None:
    """`peerflow redis-acl --file > deploy/redis/users.acl` makes it."""
    assert FILE.read_text(encoding="utf-8") == acl.acl_file()
    assert acl.acl_file().startswith("user default reset off ")
    assert f" #{'0' * 64} " in acl.acl_file()


def test_a_line_has_the_passwords_hash_and_not_the_password() -> None:
    line = acl.user_line("shop", "pods", acl.password_hash("geheim"))
    assert line.startswith("user pods reset on #addb0f5e7826c857d7376d1bd9bc33c0c544790a2eac96144a8af22b1298c940 ~{shop}:* ~{shop:*}:* ")
    assert "resetchannels -@all +blpop" in line
    assert "geheim" not in line


@pytest.mark.parametrize(
    ("name", "fine"), [("peerflow", True), ("a.b-c_d", True), ("default", False), ("", False), ("a b", False), ("a:b", False)]
)
def test_a_users_name_needs_no_quoting_anywhere(name: str, fine: bool) -> None:
    assert acl.is_user_name(name) is fine
