"""Shell scripts, and those inside of manifests, say nothing that shellcheck knows to be a mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.manifests import objects
from tests.support.pods import ROOT

IN_MANIFESTS = ("write-acl", "ping")


def shellcheck(*arguments: str, text: str = "") -> str:
    command = [str(Path(sys.executable).parent / "shellcheck"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False).stdout


def scripts() -> list[Path]:
    """Those in files of a clone; the test image has no others."""
    return [path for path in [*(ROOT / "deploy").rglob("*.sh"), ROOT / ".ci" / "run"] if path.exists()]


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_scripts_pass_shellcheck(path: Path) -> None:
    assert shellcheck("--norc", "--severity=style", str(path)) == ""


@pytest.mark.parametrize("name", IN_MANIFESTS)
def test_scripts_in_manifests_are_plain_sh_and_pass_shellcheck(name: str) -> None:
    text = objects.by_name(objects.rendered("base"), "ConfigMap/peerflow-redis-1")["data"][name]
    # Flags that are several words.
    assert shellcheck("--norc", "--shell=sh", "--exclude=SC2086", "-", text=text) == ""


def test_a_mistake_is_seen() -> None:
    assert "SC2154" in shellcheck("--norc", "--shell=bash", "-", text="echo $nothing\n")


def test_the_script_for_clusters_can_be_started() -> None:
    assert (objects.K8S / "e2e.sh").stat().st_mode & 0o111 == 0o111


def test_the_script_for_clusters_speaks_of_what_the_manifests_bring() -> None:
    text = (objects.K8S / "e2e.sh").read_text(encoding="utf-8")
    rendered = objects.rendered("base")
    names = {objects.name_of(item).lower() for item in rendered}
    assert {f"{kind}/{name}" for kind, name in re.findall(r"\b(statefulset|deployment)/([a-z-]+)", text)} <= names
    assert re.findall(r"^namespace=(\S+)$", text, re.MULTILINE) == [rendered[0]["metadata"]["name"]]
    pods = objects.Workload(objects.by_name(rendered, "Deployment/peerflow"))
    for selector in re.findall(r"--selector (\S+)", text):
        assert dict(pair.split("=") for pair in selector.split(",")).items() <= pods.labels.items()
    assert set(re.findall(r"--container (\S+)", text)) == {container["name"] for container in pods.containers()}
