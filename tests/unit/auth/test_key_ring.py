"""Keys in force: how they are compared, and what a changed file does."""

from __future__ import annotations

import hmac
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import ConfigError
from peerflow.auth import key_ring
from peerflow.auth.api_key import PREFIX_CHARS, SECRET_CHARS, new_key
from peerflow.auth.events import KeysRead, KeysRefused
from peerflow.auth.identity import Refused, Scope
from peerflow.auth.key_ring import KeyRing
from tests.support.api_keys import SOME_DAY, new_entry, write_keys
from tests.unit.api.conftest import Recorder


def names(ring: KeyRing, *keys: str) -> list[str]:
    """Whose each key is; `-` for a key that is refused."""
    found: list[str] = []
    for key in keys:
        try:
            found.append(ring.identify(key).name)
        except Refused:
            found.append("-")
    return found


def test_a_key_has_a_prefix_that_is_shown_and_256_bits_that_are_not() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        start, prefix, secret = key.split("_")
        assert (start, len(prefix), len(secret)) == ("pfk", 8, SECRET_CHARS)
        assert (prefix + secret).isalnum()


def test_a_key_ends_at_its_instant(tmp_path: Path) -> None:
    key, entry = new_entry("ci", Scope.READ, expires_at=SOME_DAY)
    now = [(SOME_DAY - timedelta(milliseconds=1)).timestamp()]
    ring = KeyRing(write_keys(tmp_path / "keys.json", entry), clock=lambda: now[0])
    assert ring.identify(key).scopes == {Scope.READ}
    now[0] = SOME_DAY.timestamp()
    with pytest.raises(Refused, match=r"\(ci\) has expired"):
        ring.identify(key)


def test_known_and_unknown_prefixes_are_compared_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, entry = new_entry("ci", Scope.READ)
    ring = KeyRing(write_keys(tmp_path / "keys.json", entry))
    compared: list[int] = []
    compare_digest = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(len(left))
        return compare_digest(left, right)

    monkeypatch.setattr(key_ring.hmac, "compare_digest", compare)
    assert names(ring, key, key[:PREFIX_CHARS] + new_key()[PREFIX_CHARS:], new_key()) == ["ci", "-", "-"]
    assert compared == [32, 32, 32]


async def test_a_changed_file_replaces_the_keys(tmp_path: Path) -> None:
    (old_key, old), (new, new_entry_) = new_entry("old", Scope.READ), new_entry("new", Scope.READ)
    file, recorder = tmp_path / "keys.json", Recorder()
    ring = KeyRing(write_keys(file, old))
    await ring.look(recorder)
    assert recorder.events == []
    write_keys(file, old, new_entry_)
    await ring.look(recorder)
    assert names(ring, old_key, new) == ["old", "new"]
    write_keys(file, new_entry_)
    await ring.look(recorder)
    assert names(ring, old_key, new) == ["-", "new"]
    assert recorder.events == [KeysRead(file=str(file), keys=2), KeysRead(file=str(file), keys=1)]


async def test_a_kubernetes_secret_that_is_rotated_replaces_the_keys(tmp_path: Path) -> None:
    (old_key, old), (new, new_entry_) = new_entry("old", Scope.READ), new_entry("new", Scope.READ)
    # As the kubelet lays a volume out: keys.json -> ..data/keys.json, ..data -> a folder that is replaced as a whole.
    for folder, entry in (("..1", old), ("..2", new_entry_)):
        (tmp_path / folder).mkdir()
        write_keys(tmp_path / folder / "keys.json", entry)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    ring, recorder = KeyRing(tmp_path / "keys.json"), Recorder()
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await ring.look(recorder)
    assert names(ring, old_key, new) == ["-", "new"]


async def test_a_broken_file_keeps_the_keys_and_is_told_of_once(tmp_path: Path) -> None:
    key, entry = new_entry("ci", Scope.READ)
    file, recorder = tmp_path / "keys.json", Recorder()
    ring = KeyRing(write_keys(file, entry))
    file.write_text('{"keys": [{}')
    for _ in range(3):
        await ring.look(recorder)
    assert [type(event) for event in recorder.events] == [KeysRefused]
    file.unlink()
    for _ in range(3):
        await ring.look(recorder)
    assert [type(event) for event in recorder.events] == [KeysRefused, KeysRefused]
    assert names(ring, key) == ["ci"]
    write_keys(file, entry)
    await ring.look(recorder)
    assert recorder.events[2:] == [KeysRead(file=str(file), keys=1)]


def test_a_broken_file_at_the_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("[]")
    with pytest.raises(ConfigError):
        KeyRing(tmp_path / "keys.json")
