"""Pods that share a port under one supervisor: what happens when they die, stop, are replaced, or cannot start."""

from __future__ import annotations

import collections
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from peerflow.cli.pod_processes import SAME_SIGNAL_SECONDS
from tests.support.child_processes import is_alive
from tests.support.pod_client import PodClient
from tests.support.supervised import Supervisor, pod_is_ready
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Supervise = Callable[..., Supervisor]
ONE_TASK = {"steps": [{"type": "sequential", "tasks": ["noop"]}]}


@pytest.fixture
def supervise(tmp_path: Path) -> Generator[Supervise]:
    started: list[Supervisor] = []

    def start(pods: int = 2, **settings: str) -> Supervisor:
        started.append(Supervisor(tmp_path, pods, **settings))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.close()


class Posting:
    """Threads that post to one address without a pause; each post that gets an answer, or an error, is kept."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self.url = url
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.broken: list[str] = []
        self.unreachable = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/workflow", json=ONE_TASK)
                except httpx.ConnectError:
                    # Nobody listens: what was never connected was never promised anything.
                    self.unreachable += 1
                    return
                except httpx.TransportError as error:
                    self.broken.append(repr(error))
                    continue
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["run_id"])
                else:
                    self.refused.append(answer.text)


def assert_all_succeed(url: str, run_ids: list[str]) -> None:
    client = PodClient(url)
    assert run_ids
    assert {client.wait_until_finished(run_id)["status"] for run_id in run_ids} == {"succeeded"}
    client.http.close()


def test_killed_pod_comes_back_and_no_accepted_run_is_lost(supervise: Supervise) -> None:
    supervisor = supervise()
    first = supervisor.wait_until_ready(2)
    posting = Posting(supervisor.url)
    wait_until(lambda: len(posting.accepted) >= 20, "posts are accepted")
    os.kill(min(first), signal.SIGKILL)
    supervisor.wait_for_log("killed by SIGKILL")
    at_death = len(posting.accepted)
    wait_until(lambda: len(posting.accepted) >= at_death + 20, "the port goes on answering")
    second = supervisor.wait_until_ready(2)
    posting.end()
    assert len(first & second) == 1
    assert posting.refused == []
    assert posting.unreachable == 0
    # One for each connection that the dead pod had: a kill breaks those, and nothing else.
    assert len(posting.broken) <= 4
    assert_all_succeed(supervisor.url, posting.accepted)
    assert supervisor.terminate() == 0


def test_frozen_pod_keeps_nobody_waiting_who_connects_anew(supervise: Supervise) -> None:
    supervisor = supervise()
    frozen = min(supervisor.wait_until_ready(2))
    os.kill(frozen, signal.SIGSTOP)
    try:
        for _ in range(20):
            assert httpx.get(f"{supervisor.url}/healthz", timeout=10).status_code == 200
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_sigterm_drains_all_pods_and_loses_no_post(supervise: Supervise) -> None:
    supervisor = supervise(grace_seconds="3")
    supervisor.wait_until_ready(2)
    client = PodClient(supervisor.url)
    held = client.post({"steps": [{"type": "parallel", "tasks": [{"task": "hold", "args": {"gate": "open"}}] * 4}]})
    wait_until(lambda: client.get(f"/runs/{held}")["counts"].get("running") == 4, "four tasks run")
    posting = Posting(supervisor.url)
    wait_until(lambda: len(posting.accepted) >= 20, "posts are accepted")
    supervisor.process.send_signal(signal.SIGTERM)
    wait_until(lambda: supervisor.log().count('"pod_draining"') == 2, "both pods drain")
    (supervisor.out.parent / "open").touch()
    assert supervisor.process.wait(30) == 0, supervisor.log()
    posting.end()
    client.http.close()
    assert posting.refused == []
    assert posting.broken == []
    assert '"event":"claims_released"' not in supervisor.log()
    again = supervise()
    again.wait_until_ready(2)
    assert_all_succeed(again.url, [held, *posting.accepted])


def test_second_signal_kills_the_pods(supervise: Supervise) -> None:
    supervisor = supervise(grace_seconds="60")
    pids = supervisor.wait_until_ready(2)
    client = PodClient(supervisor.url)
    held = client.post({"steps": [{"type": "sequential", "tasks": [{"task": "hold", "args": {"gate": "never"}}]}]})
    wait_until(lambda: client.get(f"/runs/{held}")["counts"].get("running") == 1, "the task runs")
    client.http.close()

    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.wait_for_log("stopping 2 pods")
    # One that comes at once is taken for the first, sent to a group too.
    supervisor.process.send_signal(signal.SIGTERM)
    later = time.monotonic() + SAME_SIGNAL_SECONDS + 0.1
    wait_until(lambda: time.monotonic() > later, "the second signal is a new one")
    assert any(map(is_alive, pids)), "the pod that runs the task waits for it"
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.process.wait(30) == 0
    assert not any(map(is_alive, pids))


def test_sighup_replaces_the_pods_one_by_one_and_breaks_no_request(supervise: Supervise) -> None:
    supervisor = supervise()
    first = supervisor.wait_until_ready(2)
    posting = Posting(supervisor.url)
    wait_until(lambda: len(posting.accepted) >= 20, "posts are accepted")
    supervisor.process.send_signal(signal.SIGHUP)
    fewest = 2

    def replaced() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(supervisor.pods()))
        return "all pods are replaced" in supervisor.log()

    wait_until(replaced, "all pods are replaced", 60)
    second = supervisor.wait_until_ready(2)
    posting.end()
    assert not first & second
    assert fewest == 2
    assert (posting.refused, posting.broken, posting.unreachable) == ([], [], 0)
    assert_all_succeed(supervisor.url, posting.accepted)
    assert supervisor.terminate() == 0


def test_wrong_settings_end_all_pods_with_one_message(supervise: Supervise) -> None:
    supervisor = supervise(pods=3, tasks="tests.support.no_such_tasks")
    assert supervisor.process.wait(60) == 2
    assert supervisor.log().count("tests.support.no_such_tasks") == 1, supervisor.log()


def test_broken_new_version_replaces_nobody(supervise: Supervise, tmp_path: Path) -> None:
    (tmp_path / "changing_tasks.py").write_text("")
    supervisor = supervise(tasks="changing_tasks", path=str(tmp_path))
    first = supervisor.wait_until_ready(2)
    (tmp_path / "changing_tasks.py").write_text("raise RuntimeError('half an upload')\n")
    supervisor.process.send_signal(signal.SIGHUP)
    supervisor.wait_for_log("no other pod is replaced")
    assert "half an upload" in supervisor.log()
    assert supervisor.wait_until_ready(2) == first


def test_pods_that_never_get_ready_are_given_up_with_the_reason(supervise: Supervise, tmp_path: Path) -> None:
    (tmp_path / "deadly_tasks.py").write_text("import os, sys\nprint('no licence', file=sys.stderr, flush=True)\nos._exit(7)\n")
    supervisor = supervise(pods=2, tasks="deadly_tasks", path=str(tmp_path))
    assert supervisor.process.wait(60) == 1
    assert "(exit status 7)" in supervisor.log()
    assert "no licence" in supervisor.log()
    assert "5 times in a row one ended before it was ready" in supervisor.log()


def test_connections_are_spread_over_the_pods(supervise: Supervise) -> None:
    supervisor = supervise()
    supervisor.wait_until_ready(2)
    answered: collections.Counter[str] = collections.Counter()
    clients = [httpx.Client(base_url=supervisor.url, timeout=30) for _ in range(40)]
    for client in clients:
        answered[client.get("/readyz").json()["detail"]["pod_id"]] += 1
    for client in clients:
        client.close()
    assert len(answered) == 2
    assert min(answered.values()) >= 5, answered


def test_each_pod_answers_alone_on_a_private_socket(supervise: Supervise) -> None:
    supervisor = supervise()
    supervisor.wait_until_ready(2)
    sockets = [Path(socket) for socket in supervisor.pods().values()]
    assert all(map(pod_is_ready, map(str, sockets)))
    (folder,) = {socket.parent for socket in sockets}
    assert folder.stat().st_mode & 0o077 == 0
    assert supervisor.terminate() == 0
    assert not folder.exists()


def test_lines_of_all_pods_stay_whole_and_name_their_pod(supervise: Supervise) -> None:
    supervisor = supervise(tasks="tests.support.chatty_tasks", concurrency="2")
    supervisor.wait_until_ready(2)
    client = PodClient(supervisor.url)
    run = client.post({"steps": [{"type": "parallel", "tasks": ["talk"] * 40}]})
    client.wait_until_finished(run)
    client.http.close()
    assert supervisor.terminate() == 0
    told = supervisor.out.read_text().splitlines()
    assert sorted(set(told)) == ["a" * 20_000]
    assert len(told) == 40 * 5
    lines = [json.loads(line) for line in supervisor.log().splitlines()]
    logged = [line for line in lines if line["message"].startswith("bbb")]
    assert len(logged) == 40 * 5
    assert {len(line["message"]) for line in logged} == {8_000}
    assert len({line["pod_id"] for line in logged}) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than the first one")
def test_orphans_that_the_supervisor_inherits_do_not_stay_as_zombies(supervise: Supervise) -> None:
    adopting = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    supervisor = supervise(tasks="tests.support.chatty_tasks", before=(sys.executable, "-c", adopting))
    supervisor.wait_until_ready(2)
    client = PodClient(supervisor.url)
    answer = client.wait_until_finished(client.post({"steps": [{"type": "sequential", "tasks": ["leave_an_orphan"]}]}))
    client.http.close()
    orphan = int(answer["tasks"][0]["result"])
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan is gone")
    assert supervisor.alive


def test_metrics_of_the_shared_port_are_those_of_all_its_pods_whichever_is_asked(supervise: Supervise) -> None:
    supervisor = supervise()
    supervisor.wait_until_ready(2)
    for _ in range(20):
        # A connection each, so that both pods take some.
        assert httpx.post(f"{supervisor.url}/workflow", json=ONE_TASK).status_code == 202

    def created() -> dict[str, float]:
        text = httpx.get(f"{supervisor.url}/metrics").text
        families = {family.name: family for family in cast("Iterable[Any]", text_string_to_metric_families(text))}
        return {sample.labels["process"]: sample.value for sample in families["peerflow_runs_created"].samples}

    seen = [created() for _ in range(6)]
    assert sum(seen[0].values()) == 20
    assert len(seen[0]) == 2
    assert all(each == seen[0] for each in seen)
    assert supervisor.terminate() == 0
