"""docs/kubernetes.md and docs/upgrading.md speak of what there is: folders, Secrets, images, numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.manifests import objects, references, restricted, schemas
from tests.support.manifests.objects import FOLDERS, K8S, Objects
from tests.support.manifests.walkthrough import KUBERNETES, PAGES, commands, make_certificates
from tests.support.markdown import ROOT, blocks, rows, text_of


def yaml_blocks() -> Objects:
    return [item for block in blocks(ROOT / KUBERNETES, "yaml") for item in yaml.safe_load_all(block.text)]


def test_every_overlay_is_in_the_table_and_no_other() -> None:
    listed = {name for cells in rows(text_of(KUBERNETES)) if len(cells) == 2 for name in re.findall(r"`([a-z-]+)`", cells[0])}
    assert listed & set(FOLDERS) == set(FOLDERS) - {"base", "."}
    assert {name for name in listed if (K8S / name).is_dir()} == set(FOLDERS) - {"base", "."}


@pytest.mark.parametrize("page", PAGES)
def test_every_folder_and_file_that_a_command_names_exists(page: str) -> None:
    named = {path for command in commands(page) for path in re.findall(r"\bdeploy/k8s[\w./-]*", command)}
    assert named
    assert all((ROOT / path).exists() for path in named), named


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: the image has none")
def test_every_secret_that_manifests_name_is_made_by_a_command_with_its_keys(tmp_path: Path) -> None:
    """openssl and kubectl themselves read the commands, and make the Secrets without a cluster."""
    make_certificates(tmp_path)
    for name, source in {"fullchain.pem": "tls.crt", "privkey.pem": "tls.key", "keys.json": "ca.crt", "prometheus.key": "ca.crt"}.items():
        shutil.copy(tmp_path / source, tmp_path / name)
    made: dict[str, set[str]] = {}
    for command in commands(KUBERNETES):
        if not command.startswith("kubectl create secret"):
            continue
        words = command.partition(" | ")[0].replace("kubectl", objects.kubectl(), 1)
        words += "" if "--dry-run" in words else " --dry-run=client --output yaml"
        done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stderr)
        secret = yaml.safe_load(done.stdout)
        assert secret["metadata"]["namespace"] == references.NAMESPACE
        made.setdefault(secret["metadata"]["name"], set()).update(secret["data"])
    assert made == references.SECRETS


def test_objects_in_the_documentation_are_valid_and_admitted() -> None:
    found = [item for item in yaml_blocks() if item["kind"] != "Kustomization"]
    assert {item["kind"] for item in found} == {"NetworkPolicy", "Pod"}
    assert schemas.check(found) == []
    pods: list[dict[str, Any]] = [
        {"kind": "Job", "metadata": item["metadata"], "spec": {"template": {"metadata": {}, "spec": item["spec"]}}}
        for item in found
        if item["kind"] == "Pod"
    ]
    assert restricted.check(pods) == []


def test_the_overlay_in_the_documentation_can_be_rendered(tmp_path: Path) -> None:
    (overlay,) = [item for item in yaml_blocks() if item["kind"] == "Kustomization"]
    shutil.copytree(K8S, tmp_path / "k8s", symlinks=True)
    (tmp_path / "k8s" / "ours").mkdir()
    (tmp_path / "k8s" / "ours" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    done = subprocess.run(
        [objects.kubectl(), "kustomize", str(tmp_path / "k8s/ours")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rendered = [item for item in yaml.safe_load_all(done.stdout) if item]
    (container,) = objects.by_name(rendered, "Deployment/peerflow")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/peerflow:0.1.0"
    assert {"name": "PEERFLOW_TASKS", "value": "shop.tasks"} in container["env"]


def test_images_and_times_in_the_documentation_are_those_of_the_manifests() -> None:
    text = text_of(KUBERNETES)
    containers = [container for workload in objects.workloads(objects.rendered("base")) for container in workload.containers()]
    images = {container["image"] for container in containers}
    assert images <= set(re.findall(r"[\w.]+:\d[\w.-]*", text))
    assert set(re.findall(r"\bredis:\d[\w.-]*", text)) <= images
    (pods,) = [each for each in objects.workloads(objects.rendered("base")) if each.name == "Deployment/peerflow"]
    assert f"`terminationGracePeriodSeconds` ({pods.pod['terminationGracePeriodSeconds']})" in text
