"""What manifests say of the product, compared with the product: settings, routes, ports, times, users."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from peerflow.http_server import LINGER_SECONDS, SHUTDOWN_SECONDS
from peerflow.settings import Settings
from peerflow.settings_source import read_environment, unknown_variables
from scheduler.identity import PodOptions
from tests.support.manifests.objects import Object, Objects, Workload, name_of, of_kind, workloads

SAMPLES: Final = {"password": "0123456789abcdef", "url": "rediss://peerflow:0123456789abcdef@redis.example.com:6380/0"}
"""What stands in for the values of the Secret `peerflow-redis`."""


def check(objects: Objects, routes: Collection[str]) -> list[str]:
    """`routes` are the paths that answer GET."""
    problems: list[str] = []
    for workload in workloads(objects):
        found: list[str] = []
        if workload.name == "Deployment/peerflow":
            environment = environment_of(objects, workload)
            found += [*_settings(environment), *_probes(workload, routes), *_port(workload, environment), *_times(workload, environment)]
            found += _server(objects, environment)
        if workload.name == "StatefulSet/peerflow-redis":
            found += _patience(workload)
        problems += [f"{workload.name}: {problem}" for problem in found]
    for item in of_kind(objects, "ServiceMonitor"):
        problems += [
            f"{name_of(item)}: no route {endpoint['path']}" for endpoint in item["spec"]["endpoints"] if endpoint["path"] not in routes
        ]
    return problems


def environment_of(objects: Objects, workload: Workload) -> dict[str, str]:
    """The variables of the first container as the kubelet sets them, with sample values for Secrets."""
    container = workload.pod["containers"][0]
    maps: dict[str, Any] = {item["metadata"]["name"]: item.get("data", {}) for item in of_kind(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source.get("configMapRef", {}).get("name"), {})
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        value = SAMPLES.get(reference.get("key"), "") if reference else str(variable.get("value") or "")
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found.get(match[1], match[0]), value)
    return found


def load(environment: dict[str, str]) -> Settings:
    """The settings that a pod gets from these variables."""
    return Settings.model_validate({"host": "0.0.0.0", **read_environment(environment, Settings.model_fields)})


def _settings(environment: dict[str, str]) -> Iterator[str]:
    yield from unknown_variables(environment, Settings.model_fields)
    try:
        load(environment)
    except ValidationError as error:
        yield from (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


def _probes(workload: Workload, routes: Collection[str]) -> Iterator[str]:
    for container in workload.pod["containers"]:
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = container.get(probe, {}).get("httpGet", {}).get("path")
            if asked != path:
                yield f"{probe} asks {asked} instead of {path}"
            if asked not in routes:
                yield f"{probe}: no route {asked}"


def _port(workload: Workload, environment: dict[str, str]) -> Iterator[str]:
    port = int(environment.get("PEERFLOW_PORT") or Settings.model_fields["port"].default)
    if workload.port_numbers() != {port}:
        yield f"the pod listens on {port}, the container's ports are {sorted(workload.port_numbers())}"


def seconds_to_end(environment: dict[str, str]) -> float:
    """The longest that a pod takes from SIGTERM to its end: peerflow/service.py and scheduler/pod.py, one step after the other."""
    settings = load({name: value for name, value in environment.items() if name.startswith("PEERFLOW_")})
    leave, options = PodOptions().leave_seconds, settings.lease_ttl_seconds
    drain = settings.grace_seconds + leave
    requests = LINGER_SECONDS + SHUTDOWN_SECONDS
    # Pod.stop: hands back again, waits for the heartbeat's last answer, signs off.
    stop = leave + 2 * options + leave
    return drain + requests + stop


def _sleep(container: Object) -> float:
    return float(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def _times(workload: Workload, environment: dict[str, str]) -> Iterator[str]:
    pause = max(_sleep(container) for container in workload.pod["containers"])
    if pause < 1:
        yield "no preStop: requests come in while the pod is taken out of the Service"
    try:
        needed = pause + seconds_to_end(environment)
    except ValidationError:
        return
    given = workload.pod.get("terminationGracePeriodSeconds", 30)
    if given < needed:
        yield f"terminationGracePeriodSeconds is {given}, a pod may need {needed:g} s"
    if given > needed + 30:
        yield f"terminationGracePeriodSeconds is {given}, a pod needs no more than {needed:g} s"


def _patience(workload: Workload) -> Iterator[str]:
    pause = max(_sleep(container) for container in workload.pod["containers"])
    if not 0 < pause < workload.pod.get("terminationGracePeriodSeconds", 30):
        yield "preStop does not fit into terminationGracePeriodSeconds"


def _server(objects: Objects, environment: dict[str, str]) -> Iterator[str]:
    """The URL leads to the Service, where there is one here."""
    url = urlsplit(environment.get("PEERFLOW_REDIS_URL", ""))
    here = {item["metadata"]["name"]: item for item in of_kind(objects, "Service") if item["metadata"]["name"] != "peerflow"}
    if not here:
        return
    ports = [port["port"] for port in here[url.hostname]["spec"]["ports"]] if url.hostname in here else []
    if url.port not in ports:
        yield f"PEERFLOW_REDIS_URL leads to {url.hostname}:{url.port}, which is no Service"
    if url.password != SAMPLES["password"]:
        yield "PEERFLOW_REDIS_URL does not hold the password of the Secret"
