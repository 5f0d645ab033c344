"""A pod as a process of its own, started as a user starts it: `peerflow serve`."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.posting import Poster

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
ROOT = Path(__file__).resolve().parent.parent


@asynccontextmanager
async def pod(url: str, namespace: str, retention_seconds: int) -> AsyncGenerator[Poster]:
    """A ready pod with default settings and `benchmarks.tasks`; the way to post to it. It has drained and ended afterwards.

    RuntimeError with the end of its log where it does not get ready.
    """
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: ASYNC220  (nothing else runs yet that it could hold up)
            [sys.executable, "-m", "peerflow.cli", "serve", "--port", str(port), "--tasks", "benchmarks.tasks", "--stop-with-parent"],
            cwd=ROOT,
            env=_environment(url, namespace, retention_seconds),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        poster = Poster(HOST, port)
        try:
            await _wait_until_ready(process, poster)
            yield poster
        except (OSError, EOFError, RuntimeError, TimeoutError) as error:
            log.seek(0)
            raise RuntimeError(f"{error!r}; the pod's log ends:\n{log.read().decode(errors='replace')[-4000:]}") from error
        finally:
            await poster.close()
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _environment(url: str, namespace: str, retention_seconds: int) -> dict[str, str]:
    """This environment without anybody's own settings; the URL goes this way because a command line is for all to read."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PEERFLOW_") and name != "DEBUG"}
    return own | {
        "PEERFLOW_REDIS_URL": url,
        "PEERFLOW_NAMESPACE": namespace,
        "PEERFLOW_RETENTION_SECONDS": str(retention_seconds),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


async def _wait_until_ready(process: subprocess.Popen[bytes], poster: Poster) -> None:
    async with asyncio.timeout(START_SECONDS):
        while process.poll() is None:
            try:
                status, _ = await poster.request("GET", "/readyz")
            except OSError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the pod ended with status {process.returncode}")
