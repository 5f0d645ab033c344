"""The programs in the documentation run as they stand: modules, a user's tests, and a workflow against a pod of their own."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.markdown import PAGES, ROOT, blocks
from tests.support.pods import Cluster


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every program: those whose first line names a file under that name, others as `block_<page>_<line>.py`."""
    folder = tmp_path_factory.mktemp("programs")
    for page in PAGES:
        for block in blocks(page, "python"):
            named = re.match(r"# ([\w.]+\.py)\n", block.text)
            name = named[1] if named else f"block_{re.sub(r'[^a-z0-9]+', '_', block.place)}.py"
            (folder / name).write_text(block.text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:valkey -p no:randomly\n")
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PEERFLOW_LEASE_TTL_SECONDS": "2"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_tests_that_the_documentation_shows_pass(programs: Path) -> None:
    ended = python(programs, "-m", "pytest", "-q", str(programs))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10 passed" in ended.stdout, ended.stdout


def test_other_modules_are_loaded_by_a_pod(programs: Path) -> None:
    modules = ",".join(sorted(file.stem for file in programs.glob("block_*.py")))
    assert modules.count(",") >= 2
    code = "import sys\nfrom peerflow.main import load_registry\nfrom peerflow.settings import Settings\n"
    code += f"print(load_registry(Settings.model_validate({{'tasks': {modules!r}}})).names())"
    ended = python(programs, "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert "'index'" in ended.stdout
    assert "'ship'" in ended.stdout


def test_arguments_and_the_fencing_token_work_as_described(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(programs))
    (ship,) = [file.stem for file in programs.glob("block_*.py") if "def ship" in file.read_text()]
    database = tmp_path / "orders.sqlite"
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, payment TEXT, token INTEGER)")
        db.execute("INSERT INTO orders VALUES ('o-1', NULL, 0), ('o-2', 'p-9', ?)", (2**62,))
    cluster = Cluster(tmp_path, tasks=f"payments,{ship}")
    try:
        (pod,) = cluster.start(1)
        args = {"order": 7, "to": {"street": "Main", "zip": "12345"}, "day": "2026-01-01"}
        booked = {"database": str(database), "payment": "p-1"}
        tasks = {
            "ship": {"task": "ship", "args": args},
            "wrong": {"task": "ship", "args": {**args, "order": "7"}},
            "book": {"task": "book", "args": {**booked, "order": "o-1"}},
            "late": {"task": "book", "args": {**booked, "order": "o-2"}},
        }
        status = pod.wait_until_finished(pod.post({"tasks": tasks}))
    finally:
        cluster.close()
    ended = {task["id"]: task["error"]["type"] if task["error"] else task["result"] for task in status["tasks"]}
    assert ended == {"ship": "7 to 12345 by road on 01.01.", "wrong": "InvalidArguments", "book": True, "late": "LookupError"}
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT payment FROM orders ORDER BY id").fetchall() == [("p-1",), ("p-9",)]


def test_the_python_client_is_used_as_described(programs: Path, tmp_path: Path) -> None:
    (module,) = [file.stem for file in programs.glob("block_api_*.py")]
    cluster = Cluster(tmp_path)
    try:
        (pod,) = cluster.start(1)
        ended = python(programs, "-c", f"import {module}; print({module}.run_it({pod.url!r})); print({module}.run_it({pod.url!r}))")
    finally:
        cluster.close()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "{'task_a': True, 'task_b': True, 'task_c': True}\n" * 2
