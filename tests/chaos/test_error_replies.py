"""Redis answers, and the answer is an error (F18): nothing is lost, nothing charged, and no pod asks in a hot loop."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.proxy import Reply
from tests.support.stage import QUEUES, Stage, summary
from tests.support.waiting import wait_until

ERRORS = [
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:6381",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "NOPERM User default has no permissions to run the 'evalsha' command",
    "NOAUTH Authentication required.",
    "ERR max number of clients reached",
]
BY_WORD = {text.split(" ", 1)[0] if not text.startswith("ERR") else "MAXCLIENTS": text for text in ERRORS}
OFTEN = {"LOADING", "OOM", "NOPERM", "MOVED"}
"""One of each kind that clients take differently; the others are tried in the long set."""
WORDS = [word if word in OFTEN else pytest.param(word, marks=pytest.mark.long) for word in BY_WORD]
MOST_CALLS = 40
"""Of one script by one pod in a second; the waits grow from 0.05 s to 1 s, which makes about six in the first one."""


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("script", ["claim", "commit", "heartbeat"])
def test_an_error_reply_to_a_pod_costs_no_attempt(stage: Stage, script: str, word: str) -> None:
    pod, proxy = stage.pods[0], stage.proxies[0]
    rule = proxy.on(script, Reply(BY_WORD[word]), times=2)
    run_id = pod.post({"steps": [{"type": "sequential", "tasks": [{"task": "work", "queue": QUEUES[0], "args": {"seconds": 0}}] * 2}]})
    status = pod.wait_until_finished(run_id, 20)
    assert set(summary(status).values()) == {("succeeded", 1, 0)}
    assert set(stage.starts(run_id).values()) == {1}
    wait_until(lambda: rule.hits == 2, "the error was met twice")


@pytest.mark.parametrize("word", WORDS)
def test_a_post_that_meets_an_error_twice_is_accepted(stage: Stage, word: str) -> None:
    rule = stage.proxies[0].on("create_run", Reply(BY_WORD[word]), times=2)
    run_id = stage.pods[0].post({"steps": [{"type": "sequential", "tasks": ["noop"]}]})
    assert rule.hits == 2
    assert stage.pods[1].wait_until_finished(run_id)["status"] == "succeeded"


@pytest.mark.parametrize("word", WORDS)
def test_an_error_that_stays_is_a_problem_document_and_no_hot_loop(stage: Stage, word: str) -> None:
    definition = {"steps": [{"type": "sequential", "tasks": ["noop"]}]}
    key = {"Idempotency-Key": f"key-{word}"}
    calls = stage.proxies[0].counts.copy()
    started = time.monotonic()
    for script in ("create_run", "claim", "commit", "heartbeat"):
        stage.proxies[0].on(script, Reply(BY_WORD[word]), times=None)
    answer = stage.pods[0].http.post("/workflow", json=definition, headers=key)
    took = time.monotonic() - started
    made = stage.proxies[0].counts - calls
    assert answer.status_code == (507 if word == "OOM" else 503), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"].isdigit()
    assert max(made[script] for script in ("create_run", "claim", "commit", "heartbeat")) < MOST_CALLS * max(1.0, took), made
    stage.heal()
    again = stage.pods[1].http.post("/workflow", json=definition, headers=key)
    assert again.status_code == 202
    assert stage.pods[0].wait_until_finished(again.json()["run_id"])["status"] == "succeeded"


@pytest.mark.parametrize("word", ["UNBLOCKED", *(pytest.param(word, marks=pytest.mark.long) for word in BY_WORD if word != "UNBLOCKED")])
def test_a_blocking_read_that_meets_an_error_is_made_again(stage: Stage, word: str) -> None:
    rule = stage.proxies[1].on("BLPOP", Reply(BY_WORD[word]), times=2)
    for number in range(2):
        run_id = stage.pods[0].post({"tasks": {f"only{number}": {"task": "work", "queue": QUEUES[1], "args": {"seconds": 0}}}})
        assert stage.pods[0].wait_until_finished(run_id, 20)["status"] == "succeeded"
    wait_until(lambda: rule.hits >= 1, "the error was met")


READS = [
    "/runs/01890a5d-ac96-774b-bcce-b302099a8057",
    "/readyz",
    *(pytest.param(path, marks=pytest.mark.long) for path in ("/runs", "/tasks", "/pods")),
]
"""Each error is read again for three seconds."""


@pytest.mark.parametrize("path", READS)
def test_reads_that_meet_an_error_are_answered_with_a_problem_document(stage: Stage, path: str) -> None:
    for word in ("LOADING", "NOPERM", "MAXCLIENTS"):
        for command in ("HMGET", "HGETALL", "ZRANGE", "ZREVRANGE", "GET", "MGET", "EVALSHA"):
            stage.proxies[0].on(command, Reply(BY_WORD[word]), times=None)
        answer: httpx.Response = stage.pods[0].http.get(path)
        assert answer.status_code in {200, 404, 503}
        if answer.status_code == 503 and path != "/readyz":
            assert answer.headers["content-type"] == "application/problem+json"
        stage.heal()
