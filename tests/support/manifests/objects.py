"""Kubernetes objects as dictionaries: read from files, rendered by kubectl, and with mistakes planted into them."""

from __future__ import annotations

import copy
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

from tests.support.pods import ROOT

Object = dict[str, Any]
Objects = list[Object]

K8S: Final = ROOT / "deploy" / "k8s"
FOLDERS: Final = [*sorted(path.parent.name for path in K8S.glob("*/kustomization.yaml")), "base", "."]
"""Whatever `kubectl apply -k deploy/k8s/…` takes."""


def kubectl() -> str:
    """The kubectl of this environment, which the lock names; never another one that the machine has."""
    return str(Path(sys.executable).parent / "kubectl")


def read(path: Path) -> Objects:
    return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]


def applied() -> Objects:
    """What `kubectl apply -f deploy/k8s/` sends, in its order."""
    return [item for path in sorted(K8S.glob("*.yaml")) for item in read(path)]


@functools.cache
def _rendered(folder: str) -> str:
    done = subprocess.run([kubectl(), "kustomize", str(K8S / folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # kubectl only says so where it would refuse one day.
    assert not done.stderr, done.stderr
    return done.stdout


def rendered(folder: str) -> Objects:
    """What `kubectl apply -k deploy/k8s/<folder>` sends."""
    return [item for item in yaml.safe_load_all(_rendered(folder)) if item]


def name_of(item: Object) -> str:
    """`Deployment/peerflow`."""
    return f"{item['kind']}/{item['metadata']['name']}"


def by_name(objects: Objects, name: str) -> Object:
    (found,) = [item for item in objects if name_of(item) == name]
    return found


def of_kind(objects: Objects, *kinds: str) -> Objects:
    return [item for item in objects if item["kind"] in kinds]


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that makes pods."""

    owner: Object

    @property
    def name(self) -> str:
        return name_of(self.owner)

    @property
    def template(self) -> Object:
        return cast("Object", self.owner["spec"]["template"])

    @property
    def labels(self) -> dict[str, str]:
        return cast("dict[str, str]", self.template["metadata"].get("labels", {}))

    @property
    def pod(self) -> Object:
        return cast("Object", self.template["spec"])

    def containers(self) -> Iterator[Object]:
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            yield from self.pod.get(kind, [])

    def port_names(self) -> set[str]:
        return {port["name"] for container in self.containers() for port in container.get("ports", []) if "name" in port}

    def port_numbers(self) -> set[int]:
        return {port["containerPort"] for container in self.containers() for port in container.get("ports", [])}


def workloads(objects: Objects) -> list[Workload]:
    return [Workload(item) for item in of_kind(objects, "Deployment", "StatefulSet", "DaemonSet", "Job")]


DELETE: Final = object()


def planted(objects: Objects, name: str, path: str, value: object) -> Objects:
    """A copy in which the place `spec.ports[0].name` of that object has another value, or, with DELETE, none; `~` stands for a dot."""
    changed = copy.deepcopy(objects)
    place: Any = by_name(changed, name)
    steps: list[Any] = [int(step) if step.isdecimal() else step.replace("~", ".") for step in re.findall(r"[^.\[\]]+", path)]
    for step in steps[:-1]:
        if isinstance(step, str) and step not in place:
            place[step] = {}
        place = place[step]
    if value is DELETE:
        del place[steps[-1]]
    elif isinstance(steps[-1], int) and steps[-1] == len(place):
        place.append(value)
    else:
        place[steps[-1]] = value
    return changed
