"""The job that makes the password of Redis, against a server that answers as the cluster's API does."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.manifests.objects import Workload, by_name, rendered

FOLDER = "/run/peerflow-setup"
# Contexts as Python 3.13, the job's image, makes them; the tests' own Python may be older.
STRICT = """
import ssl
made = ssl.create_default_context
def strict(**options):
    context = made(**options)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
ssl.create_default_context = strict
"""


def make_certificates(folder: Path) -> None:
    """An authority as many clusters have it, without the extensions key usage and authority key identifier, and a certificate of it."""
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=none\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", "tls.crt", "-days", "2")
    for words in (
        ("req", "-x509", *key, "/CN=kubernetes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"),
        ("req", "-new", *key, "/CN=api", "-keyout", "tls.key", "-out", "tls.csr"),
        ("x509", "-req", "-in", "tls.csr", *signed),
    ):
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=30)


class Api:
    """Takes one Secret of each name, as the cluster's API does: 201, then 409."""

    def __init__(self, folder: Path) -> None:
        make_certificates(folder)
        (folder / "token").write_text("a-token\n")
        self.secrets: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.status = 201
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.requests.append((self.path, self.headers["Authorization"]))
                known = [secret["metadata"]["name"] for secret in api.secrets]
                status = 409 if body["metadata"]["name"] in known else api.status
                if status == 201:
                    api.secrets.append(body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's signature)
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.folder = folder
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def run_job(self) -> subprocess.CompletedProcess[str]:
        (container,) = Workload(by_name(rendered("base"), "Job/peerflow-redis-password")).containers()
        program, *words = container["command"]
        assert program == "python"
        words = [*words[:-1], STRICT + words[-1].replace(FOLDER, str(self.folder))]
        variables = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.server.server_port),
            "POD_NAMESPACE": "peerflow",
        }
        return subprocess.run(
            [sys.executable, *words], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


@pytest.fixture
def api(tmp_path: Path) -> Generator[Api]:
    api = Api(tmp_path)
    yield api
    api.close()


def test_the_password_is_random_and_made_once(api: Api) -> None:
    first, second = api.run_job(), api.run_job()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "made the Secret" in first.stdout
    assert "stays as it is" in second.stdout
    (secret,) = api.secrets
    assert secret["metadata"]["name"] == "peerflow-redis"
    password = secret["stringData"]["password"]
    assert len(password) == 64
    assert password not in first.stdout + first.stderr
    assert api.requests == 2 * [("/api/v1/namespaces/peerflow/secrets", "Bearer a-token")]


def test_a_refusal_of_the_api_makes_the_job_fail_so_that_it_is_tried_again(api: Api) -> None:
    api.status = 403
    done = api.run_job()
    assert done.returncode != 0
    assert "the API refuses: 403" in done.stderr


def test_a_server_that_is_not_the_clusters_gets_no_token(api: Api, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k", "-out", "ca.crt", "-subj", "/CN=x"],
        cwd=other,
        capture_output=True,
        check=True,
        timeout=30,
    )
    (tmp_path / "ca.crt").write_text((other / "ca.crt").read_text())
    assert api.run_job().returncode != 0
    assert api.requests == []
