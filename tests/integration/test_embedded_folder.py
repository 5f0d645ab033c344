from __future__ import annotations

import importlib.metadata
import os
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine.errors import ConfigError, StorageUnavailable
from storage.embedded import EmbeddedValkey
from storage.embedded_folder import Folder
from tests.support.embedded_machine import Machine, is_running
from tests.support.servers import read, server_identity, write
from tests.support.waiting import wait_until


def test_data_directory_with_a_long_name_gets_a_short_private_socket(tmp_path: Path) -> None:
    machine = Machine(tmp_path / ("ü " * 60))
    url = machine.join().url
    write(url, "kept", "yes")
    socket_folder = Path(machine.folder.socket_path()).parent

    assert socket_folder.stat().st_mode & 0o777 == 0o700
    assert machine.folder.path not in socket_folder.parents
    assert machine.join().url == url

    machine.close()
    assert not socket_folder.exists()


def test_copied_data_directory_gets_a_server_of_its_own(machine: Machine, tmp_path: Path) -> None:
    url = machine.join().url
    write(url, "kept", "yes")
    shutil.copytree(machine.data_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    copy = Machine(tmp_path / "copy")

    try:
        copied = copy.join().url
        assert copied != url
        assert read(copied, "kept") == "yes"
        assert server_identity(copied) != server_identity(url)
    finally:
        copy.close()


def test_folder_that_is_removed_under_the_server_takes_server_and_watcher_with_it(machine: Machine) -> None:
    member = machine.join()
    server, watcher = machine.server_pid(), machine.watcher_pid()
    shutil.rmtree(machine.data_dir)

    with pytest.raises(StorageUnavailable, match=r"start\.lock"):
        member.ensure_running()
    member.leave()

    wait_until(lambda: not is_running(server) and not is_running(watcher), "server and watcher have ended")


def test_log_is_rotated_at_a_start_so_that_it_stays_bounded(machine: Machine) -> None:
    folder = Folder.prepare(machine.data_dir)
    folder.mark()
    folder.log.write_text("x" * (1 << 20) + "x")

    machine.join()

    assert (folder.path / "valkey.log.1").stat().st_size == (1 << 20) + 1
    assert "x" not in folder.log.read_text().splitlines()[0][:1]


def test_folder_with_other_files_is_refused_and_left_as_it_was(machine: Machine) -> None:
    machine.folder.path.mkdir(parents=True)
    (machine.folder.path / "dump.rdb").write_text("somebody else's")

    with pytest.raises(ConfigError, match=r"not peerflow's \(dump\.rdb\); name an empty or new folder"):
        machine.join()

    assert [path.name for path in machine.folder.path.iterdir()] == ["dump.rdb"]


def test_folder_of_a_newer_release_is_refused(machine: Machine) -> None:
    machine.folder.path.mkdir(parents=True)
    (machine.folder.path / "peerflow-data").write_text("peerflow embedded data, format 2\n")

    with pytest.raises(ConfigError, match="format 2"):
        machine.join()


def test_data_directory_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"PEERFLOW_DATA_DIR: .*/file/data cannot be used"):
        EmbeddedValkey.join(tmp_path / "file" / "data")


def test_data_directory_of_another_user_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder.prepare(machine.data_dir)
    monkeypatch.setattr(os, "getuid", lambda: 4711)

    with pytest.raises(ConfigError, match="belongs to another user"):
        machine.join()


def test_socket_folder_that_others_could_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = tmp_path / ("x" * 100)
    folder = Folder.prepare(data_dir)
    folder.mark()
    with TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        socket_folder = Path(folder.record_socket()).parent
        assert socket_folder.parent == Path(short)
        socket_folder.chmod(0o755)

        with pytest.raises(ConfigError, match=f"{socket_folder} must be a folder of this user with mode 0700"):
            EmbeddedValkey.join(data_dir)


def test_directories_without_room_for_a_socket_path_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("y" * 100)))
    (tmp_path / ("y" * 100)).mkdir()

    with pytest.raises(ConfigError, match="too long for a unix socket, and so is"):
        EmbeddedValkey.join(tmp_path / ("x" * 100))


def test_platform_without_an_embedded_server_is_told_to_name_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)

    with pytest.raises(ConfigError, match=r"PEERFLOW_REDIS_URL: not set, and no embedded server is installed"):
        machine.join()
