"""The pytest plugin, as a user's project gets it: by installing peerflow."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

TESTS = """
import asyncio


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


def test_a_cluster_runs_a_workflow_though_a_pod_dies(peerflow_cluster):
    cluster = peerflow_cluster(pods=3, tasks=[double])
    run_id = cluster.submit({"tasks": {"a": {"task": "double", "args": {"n": 21}}}})
    cluster.pods[0].kill()
    assert cluster.wait(run_id).state == "succeeded"
    assert cluster.results(run_id) == {"a": 42}


def test_two_clusters_know_nothing_of_each_other(peerflow_cluster):
    one, two = peerflow_cluster(tasks=[double]), peerflow_cluster(tasks=[double])
    run_id = one.submit({"tasks": {"a": {"task": "double", "args": {"n": 1}}}})
    one.wait(run_id)
    assert not two.exists(run_id)


def test_a_test_that_fails_leaves_nothing_either(peerflow_cluster):
    cluster = peerflow_cluster(pods=2, tasks=[double])
    cluster.pods[1].freeze()
    assert cluster.pods[1].state == "running"
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:valkey", "-p", "no:randomly", "-p", "no:asyncio", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with tests that use the fixture, and a configuration of its own."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_user.py").write_text(TESTS)
    return tmp_path


def test_pytest_finds_the_plugin_of_the_installed_package() -> None:
    (found,) = [entry for entry in entry_points(group="pytest11") if entry.name == "peerflow"]
    assert found.value == "peerflow.testing.plugin"


def test_a_users_tests_get_clusters_and_nothing_is_left_running(project: Path) -> None:
    ended = pytest_in(project, f"--basetemp={project / 'kept'}")
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "1 failed" in ended.stdout
    assert "AssertionError: assert 'frozen' == 'running'" in ended.stdout
    wait_until(lambda: not running_in(project), "the server has ended")


def test_the_plugin_can_be_switched_off(project: Path) -> None:
    ended = pytest_in(project, "-p", "no:peerflow")
    assert "fixture 'peerflow_cluster' not found" in ended.stdout


def test_the_plugin_loads_no_server_and_no_scheduler_before_a_test_asks() -> None:
    code = "import sys, peerflow.testing.plugin; print(sorted({'redis', 'fastapi', 'storage.store', 'scheduler.pod'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"


def test_peerflow_and_its_tools_are_imported_without_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; from peerflow import task; from peerflow.testing import Cluster, crash_sweep"
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_every_public_name_of_the_testing_package_is_there() -> None:
    import peerflow.testing as tools

    assert all(hasattr(tools, name) for name in tools.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = tools.nothing_such


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found
