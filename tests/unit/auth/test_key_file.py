"""The file of API keys: what it holds, and that everything that is wrong with it is told at once, and nothing that is secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from peerflow.auth import key_file
from peerflow.auth.api_key import new_key
from peerflow.auth.identity import Scope
from tests.support.api_keys import entry_of, write_keys

SHA256 = "ab" * 32
GOOD: dict[str, Any] = {"name": "ci", "prefix": "pfk_Ab3dE5gH", "sha256": SHA256, "scopes": ["submit", "read"]}


def problems_of(*items: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        key_file.parse(json.dumps({"keys": items}).encode(), "keys.json")
    return caught.value.problems


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    until = datetime(2027, 1, 31, tzinfo=UTC)
    entries = [
        entry_of(new_key(), "ci", Scope.SUBMIT, Scope.READ),
        entry_of(new_key(), "team@example.org", Scope.ADMIN, tenant="team-a", expires_at=until),
        entry_of(new_key(), "operator", *Scope, tenant="*"),
    ]
    assert key_file.read(write_keys(tmp_path / "keys.json", *entries)) == entries


def test_a_tenant_that_is_left_out_is_the_default_one() -> None:
    (entry,) = key_file.parse(json.dumps({"keys": [GOOD]}).encode(), "keys.json")
    identity = entry.identity()
    assert (identity.tenant, identity.everywhere, identity.expires_at) == ("default", False, None)


def test_a_star_sees_all_tenants_and_starts_runs_in_the_default_one() -> None:
    (entry,) = key_file.parse(json.dumps({"keys": [{**GOOD, "tenant": "*"}]}).encode(), "keys.json")
    identity = entry.identity()
    assert (identity.tenant, identity.everywhere) == ("default", True)


def test_an_instant_may_have_any_offset() -> None:
    (entry,) = key_file.parse(json.dumps({"keys": [{**GOOD, "expires_at": "2027-01-31T02:00:00+02:00"}]}).encode(), "keys.json")
    assert entry.expires_at is not None
    assert entry.expires_at.utcoffset() == timedelta(hours=2)
    assert entry.identity().expires_at == datetime(2027, 1, 31, tzinfo=UTC).timestamp()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "keys[0]: name must be 1 to 64 characters"),
    ({"name": "a\nb"}, "keys[0]: name must be 1 to 64 characters"),
    ({"name": None}, "keys[0]: name must be 1 to 64 characters"),
    ({"prefix": "pfk_short"}, "keys[0] (ci): prefix must be the first 12 characters of the key"),
    ({"sha256": SHA256.upper()}, "keys[0] (ci): sha256 must be 64 lower-case hexadecimal digits"),
    ({"sha256": 5}, "keys[0] (ci): sha256 must be 64 lower-case hexadecimal digits"),
    ({"scopes": []}, "keys[0] (ci): scopes ([]) must be a list of one or more of submit, read, control, admin"),
    ({"scopes": ["sumbit"]}, 'keys[0] (ci): scopes (["sumbit"]) must be a list of one or more of submit, read, control, admin'),
    ({"scopes": "read"}, "keys[0] (ci): scopes (read) must be a list"),
    ({"scopes": [["read"]]}, 'keys[0] (ci): scopes ([["read"]]) must be a list'),
    ({"tenant": "a b"}, "keys[0] (ci): tenant (a b) must be 1 to 64 characters"),
    ({"tenant": None}, "keys[0] (ci): tenant (null) must be"),
    ({"expires_at": "2027-01-31T00:00:00"}, "keys[0] (ci): expires_at (2027-01-31T00:00:00) must be an instant with a time zone"),
    ({"expires_at": 1_800_000_000}, "keys[0] (ci): expires_at (1800000000) must be an instant"),
    ({"expire_at": "2027-01-31T00:00:00Z"}, "keys[0] (ci): expire_at is not a field of an entry; they are name, prefix"),
]


@pytest.mark.parametrize(("change", "beginning"), WRONG)
def test_what_is_wrong_is_told_with_the_entry_and_the_remedy(change: dict[str, Any], beginning: str) -> None:
    (problem,) = problems_of({**GOOD, **change})
    assert problem.startswith(f"keys.json: {beginning}")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = problems_of({**GOOD, "scopes": [], "tenant": "?"}, 7, {**GOOD, "name": "b", "sha256": "x"})
    assert [problem.split(": ")[1] for problem in problems] == [
        "keys[0] (ci)",
        "keys[0] (ci)",
        "keys[1]",
        "keys[1]",
        "keys[1]",
        "keys[1]",
        "keys[1]",
        "keys[2] (b)",
    ]


def test_two_entries_with_one_name_or_one_prefix_are_refused() -> None:
    assert problems_of(GOOD, GOOD) == [
        "keys.json: name 'ci' stands in 2 entries; give each its own",
        "keys.json: prefix 'pfk_Ab3dE5gH' stands in 2 entries; give each its own",
    ]


@pytest.mark.parametrize("field", ["name", "prefix", "sha256", "scopes", "tenant", "expires_at", "key"])
def test_a_key_in_the_wrong_place_is_not_quoted(field: str) -> None:
    key = new_key()
    for value in (key, [key], {key: key}):
        assert key[12:] not in "\n".join(problems_of({**GOOD, field: value}))
    assert key[12:] not in "\n".join(problems_of({**GOOD, key: 1}))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "key": 1}', b'{"keys": [], "keys": []}', b"\xff"]
)
def test_what_is_no_file_of_keys_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^keys\.json: "):
        key_file.parse(content, "keys.json")


def test_a_broken_file_is_not_quoted() -> None:
    key = new_key()
    for content in (f'{{"keys": [{{"{key}": 1, "{key}": 2}}]}}', f'{{"keys": [{{"name": {key}', key):
        with pytest.raises(ConfigError) as caught:
            key_file.parse(content.encode(), "keys.json")
        assert key[12:] not in str(caught.value)


def test_a_file_without_keys_lets_nobody_in() -> None:
    assert key_file.parse(b'{"keys": []}', "keys.json") == []


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or directory; `peerflow keys new`"):
        key_file.read(tmp_path / "none.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (key_file.LARGEST_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        key_file.read(large)
