"""`peerflow keys`: a key is printed once, and the file keeps what a pod needs of it."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peerflow.auth import key_file, key_writing
from peerflow.auth.identity import Scope
from peerflow.auth.key_ring import KeyRing
from tests.support.api_keys import LONG_AGO, new_entry, write_keys
from tests.unit.cli.conftest import Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_new_key_is_the_only_line_on_standard_output_and_opens_what_it_says(cli: Cli, file: Path) -> None:
    ended = cli("keys", "new", "--name", "ci", "--scopes", "submit, read", "--tenant", "team", "--file", str(file))
    assert ended.status == 0
    (key,) = ended.out.splitlines()
    identity = KeyRing(file).identify(key)
    assert (identity.name, identity.tenant, identity.scopes) == ("ci", "team", {Scope.SUBMIT, Scope.READ})
    assert key[12:] not in file.read_text() + ended.err


def test_the_file_is_its_owner_s_alone_and_keeps_the_other_keys(cli: Cli, file: Path) -> None:
    keys = [cli("keys", "new", "--name", name, "--scopes", "read", "--file", str(file)).out.strip() for name in ("a", "b", "c")]
    assert [KeyRing(file).identify(key).name for key in keys] == ["a", "b", "c"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "span"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30)), ("2w", timedelta(weeks=2))],
)
def test_a_key_may_end(cli: Cli, file: Path, text: str, span: timedelta) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made = json.loads(cli("keys", "new", "--name", "ci", "--scopes", "read", "--expires", text, "--file", str(file), "--json").out)
    (entry,) = key_file.read(file)
    assert entry.expires_at is not None
    assert before + span <= entry.expires_at <= datetime.now(UTC) + span
    assert made["expires_at"] == entry.to_json()["expires_at"]


def test_a_key_may_end_at_an_instant(cli: Cli, file: Path) -> None:
    cli("keys", "new", "--name", "ci", "--scopes", "read", "--expires", "2100-01-31T02:00:00+02:00", "--file", str(file))
    assert key_file.read(file)[0].to_json()["expires_at"] == "2100-01-31T00:00:00Z"


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_written(cli: Cli, file: Path) -> None:
    wrong = ("--name", "a b", "--scopes", "sumbit", "--tenant", "?", "--expires", "2020-01-01T00:00:00Z")
    ended = cli("keys", "new", *wrong, "--file", str(file))
    assert (ended.status, ended.out) == (2, "")
    for option in ("--name", "--scopes", "--tenant", "--expires"):
        assert f"{option} (" in ended.err
    assert not file.exists()


@pytest.mark.parametrize("text", ["0d", "90", "d", "-5d", "1e3d", "9999999w", "2100-01-31", "2100-01-31T00:00:00", "soon"])
def test_an_end_that_is_none_is_refused_or_far_away(cli: Cli, file: Path, text: str) -> None:
    ended = cli("keys", "new", "--name", "ci", "--scopes", "read", f"--expires={text}", "--file", str(file))
    assert ended.status == (0 if text == "9999999w" else 2), ended.err


def test_a_name_that_is_taken_leaves_the_file_as_it_was(cli: Cli, file: Path) -> None:
    write_keys(file, new_entry("ci", Scope.READ)[1])
    before = file.read_bytes()
    ended = cli("keys", "new", "--name", "ci", "--scopes", "read", "--file", str(file))
    assert ended.status == 2
    assert "name 'ci' stands in 2 entries" in ended.err
    assert file.read_bytes() == before


def test_a_broken_file_is_not_replaced(cli: Cli, file: Path) -> None:
    file.write_text("{")
    assert cli("keys", "new", "--name", "ci", "--scopes", "read", "--file", str(file)).status == 2
    assert file.read_text() == "{"


def test_a_file_that_cannot_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    ended = cli("keys", "new", "--name", "ci", "--scopes", "read", "--file", str(tmp_path / "no" / "keys.json"))
    assert ended.status == 2
    assert "no such file or directory" in ended.err


def test_half_a_file_is_never_seen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = new_entry("ci", Scope.READ)[1]
    write_keys(file, entry)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_writing.os, "fsync", fail)
    with pytest.raises(Exception, match="no space left on device"):
        key_writing.add(file, new_entry("b", Scope.READ)[1])
    assert key_file.read(file) == [entry]
    assert list(file.parent.iterdir()) == [file]


def test_a_link_is_followed_and_stays(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    key_writing.add(tmp_path / "link", new_entry("ci", Scope.READ)[1])
    assert (tmp_path / "link").is_symlink()
    assert len(key_file.read(file)) == 1


def test_the_file_may_come_from_the_environment(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFLOW_API_KEYS_FILE", str(file))
    assert cli("keys", "new", "--name", "ci", "--scopes", "read").status == 0
    assert "ci" in cli("keys", "list").out


def test_the_list_shows_who_may_do_what_and_until_when(cli: Cli, file: Path) -> None:
    entries = [new_entry("ci", Scope.READ, Scope.SUBMIT)[1], new_entry("old", *Scope, tenant="*", expires_at=LONG_AGO)[1]]
    write_keys(file, *entries)
    ended = cli("keys", "list", "--file", str(file))
    lines = ended.out.splitlines()
    assert lines[2].split() == [entries[0].prefix, "ci", "submit,read", "default"]
    assert lines[3].split()[:4] == [entries[1].prefix, "old", "submit,read,control,admin", "*"]
    assert "(expired)" in lines[3]
    assert json.loads(cli("keys", "list", "--file", str(file), "--json").out) == [entry.to_json() for entry in entries]
