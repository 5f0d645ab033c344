"""`serve --demo`, which `make run` calls: a pod, the example workflow from start to end, and the pod goes on serving."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import httpx
from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from engine.errors import ConfigError, PeerflowError
from engine.strict_json import dumps
from peerflow.cli.credentials import api_key
from peerflow.cli.errors import report
from peerflow.cli.follow import follow
from peerflow.cli.output import clean, stdout
from peerflow.cli.pod_processes import PodProcesses
from peerflow.client import ApiError, Client, PodUnreachable
from peerflow.listener import listen
from peerflow.settings import Settings

EXAMPLE_FILE = Path("examples") / "steps.json"
EXAMPLE: JsonValue = {"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}, {"type": "sequential", "tasks": ["task_c"]}]}
"""What `examples/steps.json` says; for a machine that has the package and not the repository."""

# A cold machine imports, starts Valkey and reads its data in a few seconds.
READY_WITHIN_SECONDS = 60.0
POLL_SECONDS = 0.1


class PodNotReady(PeerflowError):
    """The pod ended, or did not become ready in time; its own output says why."""


def run(settings: Settings, count: int) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit status."""
    console = stdout()
    address = f"http://{_reachable(settings.host)}:{settings.port}"
    _check_port(settings, address)
    settings = settings.model_copy(update=_quiet(settings, on_terminal=console.is_terminal))
    console.print(f"starting a pod at {address} …" if count == 1 else f"starting {count} pods at {address} …")
    with PodProcesses(settings, count, say=lambda text, _: console.print(clean(text)), write=_write) as pods:
        try:
            with Client(address, api_key=api_key()) as client:
                _wait_until_ready(client, pods)
                try:
                    _run_example(client, console, address)
                except ApiError as error:
                    if error.status not in {401, 403}:
                        raise
                    # The pod is up all the same; only the example needs a key.
                    report(error, as_json=False)
                    console.print(f"The example was not run; the pod goes on serving: {address}/docs has the API. Ctrl-C stops it.")
        except KeyboardInterrupt:
            return 0
        return pods.wait()


def _quiet(settings: Settings, *, on_terminal: bool) -> dict[str, str]:
    """Logs for somebody who looks at one workflow: what the tasks print, and what goes wrong, unless the environment asks for more."""
    changes: dict[str, str] = {}
    if on_terminal and settings.log_format == "auto":
        # The pod writes into a pipe, which it would take for a log collector.
        changes["log_format"] = "text"
    if "log_level" not in settings.model_fields_set:
        changes["log_level"] = "warning"
    return changes


def _run_example(client: Client, console: Console, address: str) -> None:
    if EXAMPLE_FILE.is_file():
        console.print(Text(f"$ peerflow submit {EXAMPLE_FILE} --watch", style="bold"))
        body = EXAMPLE_FILE.read_bytes()
    else:
        body = dumps(EXAMPLE).encode()
        console.print(Text(f"$ curl -X POST {address}/workflow -H 'Content-Type: application/json' -d '{body.decode()}'", style="bold"))
    submitted = client.submit(body)
    follow(client, submitted.run_id)
    console.print(f"The pod goes on serving: {address}/docs has the API, `peerflow submit FILE --watch` runs a workflow of your own.")
    console.print(Text(f"  curl {address}/workflow_status/{submitted.run_id}", style="dim"))
    console.print("Ctrl-C stops it; the data stay.")


def _wait_until_ready(client: Client, pods: PodProcesses) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    client.connection.patience_seconds = 0.0
    reason = "it does not answer"
    while pods.alive and time.monotonic() < deadline:
        try:
            readiness = client.readiness()
        except PodUnreachable:
            pass
        else:
            if readiness.ready:
                client.connection.patience_seconds = 10.0
                return
            reason = readiness.reason or "it is not ready"
        time.sleep(POLL_SECONDS)
    if not pods.alive:
        raise PodNotReady("the pod has ended; its output above says why")
    raise PodNotReady(f"the pod is not ready after {READY_WITHIN_SECONDS:g} s: {reason}")


def _check_port(settings: Settings, address: str) -> None:
    """Says who has the port, where somebody has it: most often a pod that was started before."""
    if settings.port == 0:
        raise ConfigError(["--demo needs a port that it can name; --port 0 is for tests"])
    try:
        listen(settings.host, settings.port).close()
    except ConfigError as taken:
        if not _is_pod(address):
            raise
        use = f"use it (peerflow submit {EXAMPLE_FILE} --watch), stop it, or start another with --port {settings.port + 1}"
        raise ConfigError([f"a peerflow pod already serves {address}; {use}"]) from taken


def _is_pod(address: str) -> bool:
    try:
        with Client(address, patience_seconds=0.0, timeout_seconds=2.0) as client:
            client.readiness()
    except (PeerflowError, httpx.HTTPError):
        return False
    return True


def _reachable(host: str) -> str:
    """An address that a client on this machine can connect to."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown


def _write(line: bytes) -> None:
    """Above the progress bar: rich replaces `sys.stdout` while one is shown."""
    sys.stdout.write(line.decode(errors="replace"))
    sys.stdout.flush()
