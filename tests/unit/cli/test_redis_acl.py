"""`redis-acl` prints what the server takes, and never the password."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerflow.cli.app import run
from storage import acl

HASHED = acl.password_hash("geheim")


def test_a_line_for_the_namespace_of_the_settings_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["redis-acl"]) == 0
    out, said = capsys.readouterr()
    assert out == acl.user_line("pf") + "\n"
    assert "zeros" in said
    monkeypatch.setenv("PEERFLOW_NAMESPACE", "shop")
    assert run(["redis-acl", "--password-hash", HASHED, "--user", "pods"]) == 0
    assert capsys.readouterr() == (acl.user_line("shop", "pods", HASHED) + "\n", "")


def test_a_password_is_read_from_a_file_and_only_its_hash_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    assert run(["redis-acl", "--namespace", "shop", "--file", "--password-file", str(tmp_path / "password")]) == 0
    out, said = capsys.readouterr()
    assert out == acl.acl_file("shop", hashed=HASHED)
    assert "geheim" not in out + said


def test_everything_that_is_wrong_is_named_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--namespace", "a b", "--user", "default", "--password-hash", "XY", "--password-file", str(tmp_path)]
    assert run(["redis-acl", *arguments]) == 2
    said = capsys.readouterr().err
    for option in ("--namespace (a b)", "--user (default)", "--password-hash must be 64", "give one of them"):
        assert option in said


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff"])
def test_a_password_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(["redis-acl", "--password-file", str(path)]) == 2
    assert f"--password-file ({path})" in capsys.readouterr().err.replace("\n", "")
