"""The ACL user that `peerflow redis-acl` prints: what a pod can do as it, what nobody can, and what a pod says where a right is missing."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import redis
from redis.exceptions import AuthenticationError, ResponseError

from engine.errors import StorageRefused
from engine.states import RunState
from storage import acl
from storage.keys import Keys
from storage.partition import Identity
from storage.rights import check_rights
from storage.store import Store
from tests.support.access import PASSWORD, admin, as_user
from tests.support.bench import Bench
from tests.support.lab import Lab, dag
from tests.support.pods import ROOT
from tests.support.redis_process import RedisProcess
from tests.support.servers import Server, connect
from tests.support.waiting import wait_until_async

REFUSED = [
    "EVAL 'return 1' 0", "EVAL_RO 'return 1' 0", "FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "KEYS *",
    "SCAN 0", "RANDOMKEY", "DBSIZE", "DEBUG SLEEP 0", "SHUTDOWN NOSAVE", "ACL WHOAMI", "ACL SETUSER x on", "ACL LIST", "MODULE LIST",
    "MODULE LOAD /x", "CLIENT LIST", "CLIENT KILL ID 1", "CLIENT NO-EVICT on", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST", "FCALL x 0",
    "REPLICAOF NO ONE", "SAVE", "BGSAVE", "BGREWRITEAOF", "MONITOR", "PUBLISH c x", "SUBSCRIBE c", "SLOWLOG GET", "LATENCY RESET",
    "COMMAND COUNT", "MIGRATE h 1 k 0 1", "SWAPDB 0 1", "WAIT 0 0", "DUMP {ns:0}:runs", "RESTORE {ns:0}:x 0 x", "RENAME {ns:0}:a {ns:0}:b",
    "SORT {ns:0}:a", "OBJECT HELP", "GET other", "GET {ns", "SET {nsx:0}:a 1", "SET ns:0 1", "DEL {ns:0}:a other", "HGETALL {other}:layout",
    "BLPOP other 0", "EVALSHA x 1 other",
]  # fmt: skip


@pytest.fixture
def user(server: Server) -> Generator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5, retry=None, driver_info=None) as client:
        yield client


@pytest.fixture
def own(tmp_path: Path) -> Generator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.close()


def test_the_user_cannot_do_what_no_pod_does(user: redis.Redis, namespace: str) -> None:
    for line in REFUSED:
        words = [word.strip("'").replace("{ns", f"{{{namespace}") for word in line.replace("'return 1'", "return_1").split(" ")]
        # Servers refuse DEBUG and MODULE even to their own user, in other words.
        with pytest.raises(ResponseError, match=r"[Nn]o permissions|^(DEBUG|MODULE) command not allowed"):
            user.execute_command(*words)


@pytest.mark.parametrize(
    "call",
    [
        "'FLUSHALL'",
        "'CONFIG', 'GET', 'save'",
        "'GET', 'other'",
        "'SET', 'other', 1",
        "'KEYS', '*'",
        "'PUBLISH', 'c', 'x'",
        "'SCRIPT', 'FLUSH'",
    ],
)
def test_nor_can_a_script_that_it_calls(user: redis.Redis, server: Server, namespace: str, call: str) -> None:
    with connect(server.url) as client:
        client.set("other", "untouched", ex=60)
        sha = str(user.script_load(f"#!lua\nreturn redis.call({call})"))
        with pytest.raises(ResponseError, match=r"ACL failure in script|not allowed from script"):
            user.evalsha(sha, 1, Keys(namespace, 0).prefix)
        assert client.get("other") == "untouched"


async def test_a_pod_runs_workflows_as_the_user(server: Server, namespace: str) -> None:
    def work() -> bool:
        return True

    bench = await Bench.open(server.url, namespace)
    try:
        await bench.pod(work)
        run_id = await bench.post({"steps": [{"type": "sequential", "tasks": ["work", "work"]}]})
        await wait_until_async(lambda: ended(bench, run_id), "the run has ended")
    finally:
        await bench.close()


async def ended(bench: Bench, run_id: str) -> bool:
    return (await bench.store.get_run(run_id)).state is RunState.SUCCEEDED


async def test_a_store_names_every_right_that_is_missing_before_it_writes_anything(server: Server, namespace: str) -> None:
    with connect(server.url) as client:
        client.execute_command("ACL", "SETUSER", namespace, "-zadd", "-zscan")
        store = Store(server.url, namespace=namespace)
        with pytest.raises(StorageRefused) as refused:
            await store.prepare()
        client.execute_command("ACL", "SETUSER", namespace, "+zadd", "+zscan")
        await store.prepare()
    await store.close()
    assert "may not do ZADD, ZSCAN on keys" in str(refused.value)
    assert "`peerflow redis-acl`" in str(refused.value)
    assert PASSWORD not in str(refused.value)


async def test_a_right_that_is_taken_away_later_is_named_by_the_call_that_needs_it(server: Server, namespace: str) -> None:
    store = await Store.open(server.url, namespace=namespace)
    with connect(server.url) as client:
        client.execute_command("ACL", "SETUSER", namespace, "-zrevrangebyscore", "-get")
    with pytest.raises(StorageRefused, match=r"'zrevrangebyscore' command.*`peerflow redis-acl`"):
        await store.list_runs(limit=1)
    with pytest.raises(StorageRefused, match=r"ACL failure in script.*'get' command.*`peerflow redis-acl`"):
        await store.partitions[0].claim("0" * 32, Identity("p1", "digest", 10_000), 1)
    await store.close()


async def test_a_user_of_another_namespace_is_told_that_the_keys_are_not_its_own(server: Server, namespace: str) -> None:
    with pytest.raises(StorageRefused, match=r"[Nn]o permissions to access .*key.*`peerflow redis-acl`"):
        await Store.open(server.url, namespace=f"{namespace}-other")
    with connect(server.url) as client:
        assert not client.exists(f"{{{namespace}-other}}:layout")


async def test_asking_for_rights_changes_nothing(lab: Lab, user: redis.Redis, server: Server) -> None:
    with lab.unchanged():
        await lab.store.prepare()
        assert lab.call("rights", *acl.trials()) == [b"OK", []]
        assert lab.call("rights", "get %", "get other", "config get save", "flushall") == [b"OK", [2, 3, 4]]


async def test_the_servers_own_acl_file_may_be_the_one_that_is_delivered(tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text(acl.acl_file(hashed=acl.password_hash(PASSWORD)))
    server = RedisProcess(tmp_path, acl_file=tmp_path / "users.acl")
    server.start()
    try:
        with redis.Redis.from_url(server.admin_url) as client, pytest.raises(AuthenticationError):
            client.ping()
        lab = await Lab.open(server.url, "pf")
        lab.narrates = False
        run_id = await lab.create(dag(a=""))
        server.kill()
        server.start()
        store = await Store.open(server.url)
        assert (await store.get_run(run_id)).state is RunState.RUNNING, "what scripts wrote is read again"
        await store.close()
        await lab.close()
    finally:
        server.close()


async def test_connections_send_what_the_list_says_and_nothing_else(own: RedisProcess) -> None:
    store = await Store.open(as_user(own.admin_url.removesuffix("/0") + "/3", "peerflow"))
    await store.close()
    with connect(own.url) as client:
        sent = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    asked_by_the_test = {"ping", "info", "hello", "client|setinfo", "client|maint_notifications"}
    scripts = set(acl.IN_SCRIPTS) | set(acl.FROM_CLIENTS)
    assert sent - asked_by_the_test - scripts == {*acl.FROM_CONNECTIONS, "auth", "config|get"}


def test_doctor_names_the_missing_right_and_the_command_that_prints_it(own: RedisProcess, tmp_path: Path) -> None:
    with connect(own.url) as client:
        client.execute_command("ACL", "SETUSER", "peerflow", "-zadd")
    command = [sys.executable, "-m", "peerflow.cli", "doctor", "--json", "--redis-url", own.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    [problem] = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] == "problem"]
    assert "ZADD" in problem["found"]
    assert "peerflow redis-acl" in problem["found"]


async def test_a_check_of_rights_asks_in_the_partition_that_it_is_given(lab: Lab) -> None:
    with pytest.raises(StorageRefused):
        await check_rights(lab.store._client, "address", Keys("other", 0))  # pyright: ignore[reportPrivateUsage]


def test_the_tests_own_client_is_not_the_user(server: Server) -> None:
    assert PASSWORD in server.url
    with connect(admin(server.url)) as client:
        assert client.acl_whoami() == "default"
