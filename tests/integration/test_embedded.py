# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from engine.errors import StorageCorrupt, StorageUnavailable
from storage.embedded_folder import Folder
from tests.support.embedded_machine import FakeServer, Machine
from tests.support.servers import answers, connect, read, server_identity, write
from tests.support.waiting import wait_until


def test_server_is_private_to_the_user_and_keeps_what_it_acknowledged(machine: Machine) -> None:
    url = machine.join().url

    with connect(url) as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy", "save", "dir")

    assert settings == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "dir": str(machine.folder.path),
    }
    assert machine.folder.path.stat().st_mode & 0o777 == 0o700
    assert Path(url.removeprefix("unix://")).stat().st_mode & 0o077 == 0


def test_pods_that_start_at_the_same_time_share_one_server(machine: Machine) -> None:
    pods = [machine.pod() for _ in range(5)]

    urls = {pod.joined() for pod in pods}

    assert len(urls) == 1
    url = urls.pop()
    with connect(url) as client:
        assert client.ping()
    assert machine.folder.log.read_text().count("Ready to accept connections") == 1


def test_killing_the_pod_that_started_the_server_loses_nothing_and_stops_nothing(machine: Machine) -> None:
    first = machine.pod()
    url = first.joined()
    second = machine.join()
    write(url, "kept", "yes")
    before = server_identity(url)

    first.kill()

    assert read(second.url, "kept") == "yes"
    assert server_identity(second.url) == before


def test_server_stops_when_the_last_pod_is_killed_and_the_next_one_finds_its_data(machine: Machine) -> None:
    pods = [machine.pod(), machine.pod()]
    url = {pod.joined() for pod in pods}.pop()
    write(url, "kept", "yes")
    before = server_identity(url)

    for pod in pods:
        pod.kill()
    machine.wait_until_empty()

    assert not answers(url)
    again = machine.join().url
    assert read(again, "kept") == "yes"
    assert server_identity(again) != before


def test_pod_that_is_restarted_within_the_linger_time_finds_the_same_server(machine: Machine) -> None:
    pod = machine.pod(linger_seconds=1.5)
    before = server_identity(pod.joined())
    pod.kill()

    assert server_identity(machine.pod(linger_seconds=1.5).joined()) == before


def test_leaving_twice_is_leaving_once(machine: Machine) -> None:
    member, other = machine.join(), machine.join()

    member.leave()
    member.leave()

    assert answers(other.url)


def test_server_that_was_killed_is_started_again_with_everything_acknowledged(machine: Machine) -> None:
    member = machine.join()
    write(member.url, "kept", "yes")

    os.kill(machine.server_pid(), signal.SIGKILL)
    wait_until(lambda: machine.folder.is_free("server"), "the server is dead")
    member.ensure_running()

    assert read(member.url, "kept") == "yes"


def test_files_that_a_machine_crash_left_do_not_hinder_the_next_start(machine: Machine) -> None:
    pod = machine.pod()
    url = pod.joined()
    write(url, "kept", "yes")
    for pid in (machine.watcher_pid(), machine.server_pid()):
        os.kill(pid, signal.SIGKILL)
    pod.kill()
    wait_until(lambda: machine.folder.is_free("server"), "the server is dead")
    assert {"socket", "valkey.pid", "valkey.sock"} <= {path.name for path in machine.folder.path.iterdir()}

    assert read(machine.join().url, "kept") == "yes"


def test_watcher_that_was_killed_is_replaced_by_the_next_pod_that_joins(machine: Machine) -> None:
    first = machine.join()
    os.kill(machine.watcher_pid(), signal.SIGKILL)
    wait_until(lambda: machine.folder.is_free("watcher"), "the watcher is dead")

    second = machine.join()
    first.leave()
    second.leave()

    machine.wait_until_empty()


def test_watcher_survives_a_signal_that_is_meant_for_all_python_processes(machine: Machine) -> None:
    member = machine.join()
    watcher = machine.watcher_pid()

    os.kill(watcher, signal.SIGTERM)
    os.kill(watcher, signal.SIGINT)
    member.leave()

    machine.wait_until_empty()


def test_server_that_does_not_answer_is_named_within_the_time_limit(machine: Machine) -> None:
    machine.join()
    server = machine.server_pid()
    os.kill(server, signal.SIGSTOP)

    try:
        with pytest.raises(StorageUnavailable, match=r"does not answer; see .*valkey\.log"):
            machine.join(start_timeout_seconds=0.1)
    finally:
        os.kill(server, signal.SIGCONT)


def test_pod_waits_for_as_long_as_the_server_reads_its_data(machine: Machine) -> None:
    with FakeServer(machine, [b"-LOADING x\r\n"] * 30 + [b"+PONG\r\n"]) as server:
        member = machine.join(start_timeout_seconds=0.1)

        assert server.answers == []
        member.leave()


def test_server_that_dies_while_it_reads_its_data_is_named_with_its_last_words(machine: Machine) -> None:
    with FakeServer(machine, [b"-LOADING x\r\n"] * 3) as server:
        server.log("Out of memory, good bye")
        server.dies_after_its_answers = True

        with pytest.raises(StorageUnavailable, match="ended while it started: Out of memory, good bye"):
            machine.join()


def test_server_that_falls_silent_while_it_reads_its_data_is_given_up(machine: Machine) -> None:
    with FakeServer(machine, [b"-LOADING x\r\n"] * 3), pytest.raises(StorageUnavailable, match=r"no answer to PING for 0\.1 s"):
        machine.join(start_timeout_seconds=0.1)


def test_server_that_cannot_start_is_named_with_its_last_words(machine: Machine) -> None:
    machine.join().leave()
    machine.wait_until_empty()
    shutil.rmtree(machine.folder.path / "appendonlydir")
    (machine.folder.path / "appendonlydir").write_text("")

    with pytest.raises(StorageUnavailable, match=r"ended while it started: .*appendonlydir"):
        machine.join()


def test_two_pods_do_not_start_servers_at_once(machine: Machine) -> None:
    folder = Folder.prepare(machine.data_dir)
    with folder.starting(0.0), pytest.raises(StorageUnavailable, match=r"another process has held start\.lock"):
        machine.join(start_timeout_seconds=0.05)


def test_append_only_file_that_is_broken_in_the_middle_is_corrupt_storage(machine: Machine) -> None:
    member = machine.join()
    for number in range(50):
        write(member.url, f"key{number}", "x" * 100)
    member.leave()
    machine.wait_until_empty()
    (file,) = (machine.folder.path / "appendonlydir").glob("*.incr.aof")
    content = bytearray(file.read_bytes())
    content[2000:2040] = b"?" * 40
    file.write_bytes(content)

    with pytest.raises(StorageCorrupt, match="move the folder away") as raised:
        machine.join()

    assert str(machine.folder.path) in str(raised.value)
    assert file.read_bytes() == content


def test_append_only_file_that_a_power_cut_shortened_is_read_up_to_the_cut(machine: Machine) -> None:
    member = machine.join()
    write(member.url, "kept", "yes")
    write(member.url, "cut", "x" * 100)
    member.leave()
    machine.wait_until_empty()
    (file,) = (machine.folder.path / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(file.read_bytes()[:-50])

    url = machine.join().url

    assert read(url, "kept") == "yes"
    assert read(url, "cut") is None
