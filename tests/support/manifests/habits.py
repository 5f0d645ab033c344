"""Rules of this project beyond `restricted`: what a pod may take and hold, how images are named, which probes there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.support.manifests.objects import Object, Objects, Workload, of_kind, workloads

RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
VERSIONED: Final = re.compile(r"[^@]+:v?\d[\w.-]*(@sha256:[0-9a-f]{64})?|[^@]+@sha256:[0-9a-f]{64}")


def check(objects: Objects) -> list[str]:
    problems = list(_shapes(objects))
    for workload in workloads(objects):
        problems += [f"{workload.name}: {problem}" for problem in _pod(workload)]
        for container in workload.containers():
            problems += [f"{workload.name}, container {container['name']}: {problem}" for problem in _container(container)]
    return problems


def _pod(workload: Workload) -> Iterator[str]:
    pod = workload.pod
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"
    if pod.get("serviceAccountName", "default") == "default":
        yield "it runs as the default service account"
    if not pod.get("securityContext", {}).get("runAsUser"):
        yield "runAsUser is not set"
    projected = [source for volume in pod.get("volumes", []) for source in volume.get("projected", {}).get("sources", [])]
    if workload.owner["kind"] != "Job":
        if any("serviceAccountToken" in source for source in projected):
            yield "it mounts a token"
        for container in pod["containers"]:
            missing = [probe for probe in ("startupProbe", "readinessProbe", "livenessProbe") if probe not in container]
            if missing:
                yield f"container {container['name']} has no {', '.join(missing)}"


def _container(container: Object) -> Iterator[str]:
    if not VERSIONED.fullmatch(container["image"]) or ":latest" in container["image"]:
        yield f"the image {container['image']} has neither version nor digest"
    if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    for kind in ("requests", "limits"):
        for resource in RESOURCES:
            if resource not in container.get("resources", {}).get(kind, {}):
                yield f"resources.{kind} lacks {resource}"


def _shapes(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "Deployment"):
        rolling = item["spec"].get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0:
            yield f"Deployment/{item['metadata']['name']}: maxUnavailable is not 0"
        keys = {spread["topologyKey"] for spread in item["spec"]["template"]["spec"].get("topologySpreadConstraints", [])}
        for key in {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} - keys:
            yield f"Deployment/{item['metadata']['name']}: no spread over {key}"
    for item in of_kind(objects, "Service"):
        if item["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"Service/{item['metadata']['name']}: it can be reached from outside the cluster"
    if not any(
        item["spec"]["podSelector"] == {} and set(item["spec"]["policyTypes"]) == {"Ingress", "Egress"} and not _opens(item["spec"])
        for item in of_kind(objects, "NetworkPolicy")
    ):
        yield "no NetworkPolicy denies by default"
    for secret in of_kind(objects, "Secret"):
        yield f"Secret/{secret['metadata']['name']}: a file holds a secret"


def _opens(spec: Object) -> bool:
    return bool(spec.get("ingress") or spec.get("egress"))
