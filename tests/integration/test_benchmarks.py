"""The measurements run, and leave nothing behind; how fast anything is, is not asserted."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plain_redis import connect as connect_async
from benchmarks.probe import Probe
from benchmarks.reference import Reference
from tests.support.access import admin
from tests.support.servers import connect, scan

# Benchmarks look into the server, and use namespaces of their own: they come as its default user.
ROOT = Path(__file__).resolve().parent.parent.parent


async def test_the_reference_runs_each_task_once_and_leaves_no_key(valkey_url: str, namespace: str) -> None:
    prefix = f"{{{namespace}:0}}:reference:"
    async with Reference.open(admin(valkey_url), prefix) as reference:
        assert await reference.milliseconds_per_hop(20) > 0
        assert await reference.tasks_per_second(200) > 0
        assert await reference.milliseconds_to_create(50) > 0
        assert 0 < await reference.bytes_per_finished_task(200, len("true")) < 400
    with connect(valkey_url) as client:
        assert scan(client, prefix + "*") == []


async def test_the_reference_notices_a_task_that_is_not_its_own(valkey_url: str, namespace: str) -> None:
    prefix = f"{{{namespace}:0}}:reference:"
    with connect(valkey_url) as client:
        client.rpush(prefix + "queue", "999")
    async with Reference.open(admin(valkey_url), prefix) as reference:
        with pytest.raises(RuntimeError, match="the reference ran 11 of 10 tasks"):
            await reference.tasks_per_second(10)


async def test_the_probe_counts_what_others_sent_and_finds_long_calls(valkey_url: str, namespace: str) -> None:
    client = connect_async(admin(valkey_url))
    async with Probe.open(admin(valkey_url), namespace) as probe:
        before = await probe.counters()
        for _ in range(10):
            await client.ping()
        after = await probe.counters()
        settings = await client.config_get("slowlog*")
        async with probe.slow_calls() as longest:
            await client.ping()
        assert longest == {}
        assert await client.config_get("slowlog*") == settings
    await client.aclose()
    assert after.calls["ping"] - before.calls["ping"] == 10
    assert after.commands - before.commands >= 11


def test_the_command_prints_a_table_and_deletes_what_it_has_stored(valkey_url: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--only",
        "hop",
        "--repeat",
        "1",
        "--redis-url",
        admin(valkey_url),
        "--json",
        str(report),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "| hop of a chain of 200 |" in done.stdout
    figures = json.loads(report.read_text(encoding="utf-8"))["figures"]
    assert [figure["name"] for figure in figures] == ["hop of a chain of 200"]
    with connect(valkey_url) as client:
        assert scan(client, "{bench-*") == []


def test_an_unknown_measurement_is_refused_with_the_known_ones() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--only", "luck"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fan-out" in done.stderr
