"""Pods with keys as their own processes: what an operator and a caller see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from peerflow.auth.identity import Scope
from tests.support.api_keys import bearer, new_entry, write_keys
from tests.support.issuer import RSA_KEY, public, token
from tests.support.pods import ROOT, free_port
from tests.support.waiting import wait_until

Started = subprocess.Popen[str]


class Machine:
    """Commands of this machine's user: `run` starts one, its output goes to a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[tuple[Started, Path]] = []

    def run(self, *arguments: str, **variables: str) -> tuple[Started, Path]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PEERFLOW_API", "PEERFLOW_OIDC"))}
        environment |= {"PEERFLOW_DATA_DIR": str(self._folder / "data"), "PEERFLOW_GRACE_SECONDS": "1", **variables}
        output = self._folder / f"output-{len(self.started)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "peerflow.cli", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append((process, output))
        return process, output

    def ended(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process, output = self.run(*arguments, **variables)
        return process.wait(60), output.read_text()

    def pod(self, *arguments: str, **variables: str) -> tuple[str, Path]:
        """A pod that is ready: its address, and its output."""
        port = free_port()
        process, output = self.run("serve", "--port", str(port), *arguments, **variables)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_ready(url) or process.poll() is not None, "the pod is ready", 30)
        assert process.poll() is None, output.read_text()
        return url, output


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    made = Machine(tmp_path)
    yield made
    for process, _ in made.started:
        if process.poll() is None:
            process.terminate()
    for process, _ in made.started:
        process.wait(30)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def status_of(url: str, key: str) -> int:
    return httpx.get(f"{url}/runs", headers=bearer(key)).status_code


def test_a_pod_takes_the_keys_of_its_file_and_follows_its_changes(machine: Machine, tmp_path: Path) -> None:
    (old_key, old), (new_key, new) = new_entry("old", *Scope), new_entry("new", Scope.READ)
    file = write_keys(tmp_path / "keys.json", old)
    url, output = machine.pod("--host", "0.0.0.0", PEERFLOW_API_KEYS_FILE=str(file))
    assert "warnings" not in httpx.get(f"{url}/readyz").json()["detail"]
    assert (status_of(url, old_key), status_of(url, new_key)) == (200, 401)
    write_keys(file, new)
    wait_until(lambda: status_of(url, new_key) == 200, "the new key is known")
    assert status_of(url, old_key) == 401
    file.write_text("{")
    wait_until(lambda: "the file of API keys cannot be used" in output.read_text(), "the broken file is told of")
    assert status_of(url, new_key) == 200
    text = output.read_text()
    assert old_key[12:] not in text
    assert new_key[12:] not in text
    assert '"event":"keys_read"' in text.replace('": "', '":"')


def test_a_pod_with_a_broken_file_does_not_start_and_says_all_that_is_wrong(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"keys": [{"name": "ci"}]}')
    status, said = machine.ended("serve", "--port", "0", PEERFLOW_API_KEYS_FILE=str(tmp_path / "keys.json"))
    assert status == 2
    assert said.count(f"PEERFLOW_API_KEYS_FILE: {tmp_path}/keys.json: keys[0] (ci): ") == 3


def test_a_pod_that_the_network_reaches_without_keys_warns_in_its_log_and_its_readiness(machine: Machine) -> None:
    url, output = machine.pod("--host", "0.0.0.0", DEBUG="true")
    first, second = httpx.get(f"{url}/readyz").json()["detail"]["warnings"]
    assert "asks nobody for a key" in first
    assert "DEBUG=true" in second
    logged = [line for line in output.read_text().splitlines() if '"level": "warning"' in line or '"level":"warning"' in line]
    assert any("asks nobody for a key" in line for line in logged)


def test_the_command_line_works_with_a_key_and_says_what_is_missing_without(machine: Machine, tmp_path: Path) -> None:
    file, key_file = tmp_path / "keys.json", tmp_path / "ci.key"
    status, made = machine.ended("keys", "new", "--name", "ci", "--scopes", "submit,read", "--file", str(file))
    assert status == 0
    key_file.write_text(made.splitlines()[0])
    url, _ = machine.pod(PEERFLOW_API_KEYS_FILE=str(file))
    with_key = {"PEERFLOW_URL": url, "PEERFLOW_API_KEY_FILE": str(key_file)}
    status, said = machine.ended("submit", "examples/steps.json", "--watch", **with_key)
    assert status == 0, said
    run_id = said.split()[1]
    assert machine.ended("runs", **with_key)[0] == 0
    status, said = machine.ended("cancel", run_id, **with_key)
    assert (status, "takes the scope 'control'" in said) == (2, True)
    status, said = machine.ended("status", run_id, PEERFLOW_URL=url)
    assert (status, "set PEERFLOW_API_KEY" in said) == (2, True)
    status, said = machine.ended("doctor", "--json", PEERFLOW_API_KEYS_FILE=str(file), **with_key)
    checks = {check["subject"]: check["verdict"] for check in json.loads(said)["checks"]}
    assert (status, checks["keys"], checks["own key"], checks["pod"]) == (0, "ok", "ok", "ok")


@pytest.mark.parametrize("with_key", [True, False])
def test_the_demonstration_works_with_a_key_and_goes_on_serving_without(machine: Machine, tmp_path: Path, with_key: bool) -> None:
    key, entry = new_entry("me", *Scope)
    variables = {"PEERFLOW_API_KEYS_FILE": str(write_keys(tmp_path / "keys.json", entry))}
    if with_key:
        variables["PEERFLOW_API_KEY"] = key
    port = free_port()
    process, output = machine.run("serve", "--demo", "--port", str(port), **variables)
    expected = "The pod goes on serving" if with_key else "The example was not run; the pod goes on serving"
    wait_until(lambda: expected in output.read_text() or process.poll() is not None, "the demonstration is over", 60)
    assert process.poll() is None, output.read_text()
    assert ("succeeded: 3 tasks" in output.read_text()) == with_key
    assert status_of(f"http://127.0.0.1:{port}", key) == 200


@pytest.fixture
def issuer() -> Generator[str]:
    """An OIDC provider on this machine; its address."""
    documents: dict[str, Any] = {"/keys": {"keys": [public(RSA_KEY, "rsa")]}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class's name
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(200 if self.path in documents else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's signature)
            """Nothing: the test's output is for its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    documents["/.well-known/openid-configuration"] = {"issuer": address, "jwks_uri": f"{address}/keys"}
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_pod_takes_the_tokens_of_its_issuer(machine: Machine, issuer: str) -> None:
    settings = {"PEERFLOW_OIDC_ISSUER": issuer, "PEERFLOW_OIDC_AUDIENCE": "peerflow"}
    url, _ = machine.pod(**settings)
    assert status_of(url, token(iss=issuer)) == 200
    assert status_of(url, token(iss=issuer, aud="mail")) == 401
    assert status_of(url, token(iss=issuer, scope="submit")) == 403
    status, said = machine.ended("doctor", "--json", **settings)
    checks = {check["subject"]: check["verdict"] for check in json.loads(said)["checks"]}
    assert (status, checks["issuer"]) == (0, "ok")
