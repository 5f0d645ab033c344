"""Stands in for kubectl in a test of deploy/k8s/e2e.sh: its pods are processes of this machine, on one embedded server.

It knows the commands that the script sends, refuses all others, and does with pods what a cluster does: a deleted pod gets a successor at
once, SIGKILL with --force and SIGTERM without, a rollout starts a new pod before it ends an old one. `FAKE_KUBECTL_STATE` names its folder:
`pods.json` has name → process id, port, whether it leaves; `calls` has every call, one a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.pods import ROOT, free_port

STATE = Path(os.environ["FAKE_KUBECTL_STATE"])
LOOK_SECONDS = 0.1
START_SECONDS = 60.0
Pods = dict[str, dict[str, Any]]


def pods() -> Pods:
    path = STATE / "pods.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(found: Pods) -> None:
    (STATE / "pods.json").write_text(json.dumps(found))


def start() -> str:
    """Starts a pod and answers its name."""
    found = pods()
    name = f"peerflow-{len(found)}"
    port = free_port()
    with (STATE / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "peerflow.cli", "serve", "--port", str(port)],
            cwd=ROOT,
            env={
                **os.environ,
                "PEERFLOW_DATA_DIR": str(STATE / "data"),
                "PEERFLOW_LEASE_TTL_SECONDS": "2",
                "PEERFLOW_TEST_HISTORY": str(STATE),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    keep({**found, name: {"pid": process.pid, "port": port, "leaves": False}})
    return name


def is_ready(pod: dict[str, Any]) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{pod['port']}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def wait_until_ready(name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(pods()[name]):
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} is not ready after {START_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def end(name: str, number: int) -> None:
    found = pods()
    found[name]["leaves"] = True
    keep(found)
    os.kill(found[name]["pid"], number)


def staying() -> list[str]:
    return [name for name, pod in pods().items() if not pod["leaves"]]


def main(words: list[str]) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write(" ".join(words[:8]).replace("\n", " ")[:200] + "\n")
    if words[:2] == ["--namespace", "peerflow"]:
        words = words[2:]
    status = look(words)
    return change(words) if status is None else status


def look(words: list[str]) -> int | None:
    """Answers questions; None where it is none."""
    match words:
        case ["config", "current-context"]:
            sys.stdout.write("a machine without a cluster\n")
        case ["get", "namespace", "peerflow", *_]:
            return 0 if pods() else 1
        case ["get", "pods", "--selector", _, "--no-headers", *_]:
            for name, pod in pods().items():
                if not has_ended(pod):
                    sys.stdout.write(f"{name}   {is_ready(pod)}   {'2026-01-01T00:00:00Z' if pod['leaves'] else '<none>'}\n")
        case ["get", "statefulset", "peerflow-redis", *_] | ["rollout", "status", "statefulset/peerflow-redis", *_]:
            pass
        case ["get", "events", *_] | ["get", "pods", "--output", "wide"] | ["logs", *_]:
            pass
        case _:
            return None
    return 0


def change(words: list[str]) -> int:
    match words:
        case ["apply", "-f" | "-k", folder]:
            assert (Path(folder) / "Kustomization").exists() or (Path(folder) / "kustomization.yaml").exists()
            for _ in range(3):
                start()
        case ["rollout", "status", "deployment/peerflow", *_]:
            roll_out()
        case ["rollout", "restart", "deployment/peerflow"]:
            (STATE / "restart").write_text(" ".join(staying()))
        case ["delete", "pod", name, "--grace-period=0", "--force", "--wait=false"]:
            end(name, signal.SIGKILL)
            start()
        case ["delete", "pod", name, "--wait=false"]:
            end(name, signal.SIGTERM)
            start()
        case ["delete", "pod", "peerflow-redis-0"]:
            # A pod starts the server again, as a cluster does.
            os.kill(int((STATE / "data" / "valkey" / "valkey.pid").read_text()), signal.SIGTERM)
        case ["exec", "--stdin", name, "--container", "peerflow", "--", "python", *arguments]:
            environment = {**os.environ, "PEERFLOW_PORT": str(pods()[name]["port"])}
            return subprocess.run([sys.executable, *arguments], env=environment, check=False).returncode
        case ["delete", "namespace", "peerflow", *_]:
            for name in staying():
                end(name, signal.SIGTERM)
        case _:
            raise SystemExit(f"the stand-in for kubectl does not know: {' '.join(words)}")
    return 0


def has_ended(pod: dict[str, Any]) -> bool:
    """Its process is gone; nobody's child, so the machine's first process has taken it in."""
    try:
        return (Path("/proc") / str(pod["pid"]) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def roll_out() -> None:
    """Replaces the pods that a restart has named, each by one that is ready first; then all must be ready."""
    marker = STATE / "restart"
    for name in marker.read_text().split() if marker.exists() else []:
        wait_until_ready(start())
        end(name, signal.SIGTERM)
    marker.unlink(missing_ok=True)
    for name in staying():
        wait_until_ready(name)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
