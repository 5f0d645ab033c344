"""What objects call each other by: names, keys, labels, ports. Each must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.support.manifests.objects import Object, Objects, Workload, name_of, of_kind, workloads

SECRETS: Final[dict[str, set[str]]] = {
    "peerflow-redis": {"password", "url"},
    "peerflow-api-keys": {"keys.json"},
    "peerflow-redis-tls": {"tls.crt", "tls.key", "ca.crt"},
    "peerflow-redis-ca": {"ca.crt"},
    "peerflow-api-tls": {"tls.crt", "tls.key"},
    "peerflow-metrics-key": {"key"},
}
"""Secrets that no manifest holds, with their keys: a Job, an operator or cert-manager makes them. docs/kubernetes.md says how."""
CLUSTERS_OWN: Final = {"kube-root-ca.crt": {"ca.crt"}}
"""ConfigMaps that every namespace has."""
NAMESPACE: Final = "peerflow"


def check(objects: Objects) -> list[str]:
    maps = CLUSTERS_OWN | {item["metadata"]["name"]: set(item.get("data", {})) for item in of_kind(objects, "ConfigMap")}
    problems = list(_names(objects))
    for workload in workloads(objects):
        problems += [f"{workload.name}: {problem}" for problem in (*_sources(workload, maps), *_mounts(workload, maps), *_ports(workload))]
        problems += [f"{workload.name}: {problem}" for problem in _labels(workload)]
        if workload.pod.get("serviceAccountName") not in _names_of(objects, "ServiceAccount"):
            problems.append(f"{workload.name}: there is no ServiceAccount {workload.pod.get('serviceAccountName')}")
    for look in (_services, _ingresses, _policies, _scaling, _rights, _monitors):
        problems += look(objects)
    return problems


def _names_of(objects: Objects, kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in of_kind(objects, kind)}


def _names(objects: Objects) -> Iterator[str]:
    names = [name_of(item) for item in objects]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is there twice"
    for item in objects:
        if item["kind"] == "Namespace":
            if item["metadata"]["name"] != NAMESPACE:
                yield f"{name_of(item)} is another namespace than {NAMESPACE}"
        elif item["metadata"].get("namespace") != NAMESPACE:
            yield f"{name_of(item)} is not in the namespace {NAMESPACE}"


def _sources(workload: Workload, maps: dict[str, set[str]]) -> Iterator[str]:
    """ConfigMaps and Secrets that variables and volumes are made of."""
    for container in workload.containers():
        defined: set[str] = set()
        for source in container.get("envFrom", []):
            yield from _source("ConfigMap", source.get("configMapRef"), maps, None)
            yield from _source("Secret", source.get("secretRef"), SECRETS, None)
        for variable in container.get("env", []):
            origin = variable.get("valueFrom", {})
            for kind, field, known in (("ConfigMap", "configMapKeyRef", maps), ("Secret", "secretKeyRef", SECRETS)):
                if field in origin:
                    yield from _source(kind, origin[field], known, [origin[field]["key"]])
            for used in _expanded(variable.get("value") or ""):
                if used not in defined:
                    yield f"{variable['name']} uses $({used}), which is not defined before it"
            defined.add(variable["name"])
    for volume in workload.pod.get("volumes", []):
        parts = [volume, *volume.get("projected", {}).get("sources", [])]
        for part in parts:
            for kind, field, known in (("ConfigMap", "configMap", maps), ("Secret", "secret", SECRETS)):
                if field in part:
                    reference = {"name": part[field].get("secretName") or part[field].get("name")}
                    keys = [item["key"] for item in part[field].get("items", [])]
                    yield from _source(kind, reference, known, keys)


def _source(kind: str, reference: Object | None, known: dict[str, set[str]], keys: list[str] | None) -> Iterator[str]:
    if reference is None:
        return
    if reference["name"] not in known:
        yield f"there is no {kind} {reference['name']}"
        return
    for key in keys or []:
        if key not in known[reference["name"]]:
            yield f"the {kind} {reference['name']} has no key {key}"


def _expanded(value: str) -> list[str]:
    return [part.partition(")")[0] for part in value.split("$(")[1:]]


def _mounts(workload: Workload, maps: dict[str, set[str]]) -> Iterator[str]:
    volumes: dict[str, Object] = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in workload.owner["spec"].get("volumeClaimTemplates", [])}
    mounted: set[str] = set()
    for container in workload.containers():
        for mount in container.get("volumeMounts", []):
            mounted.add(mount["name"])
            if mount["name"] not in volumes and mount["name"] not in claims:
                yield f"container {container['name']} mounts {mount['name']}, which is no volume"
            yield from _files(container, mount, volumes.get(mount["name"], {}), maps)
    for name in sorted((set(volumes) | claims) - mounted):
        yield f"the volume {name} is mounted nowhere"


def _files(container: Object, mount: Object, volume: Object, maps: dict[str, set[str]]) -> Iterator[str]:
    """Files that commands name, in folders that are made of a ConfigMap or Secret."""
    source = volume.get("configMap") or volume.get("secret")
    if source is None:
        return
    known: set[str] = (maps if "configMap" in volume else SECRETS).get(source.get("name") or source.get("secretName"), set())
    known = {item["path"] for item in source["items"]} if "items" in source else known
    words: list[str] = [*container.get("command", []), *container.get("args", [])]
    words += [word for variable in container.get("env", []) for word in str(variable.get("value") or "").replace("=", " ").split()]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        words += container.get(probe, {}).get("exec", {}).get("command", [])
    for word in words:
        if word.startswith(mount["mountPath"] + "/") and word.removeprefix(mount["mountPath"] + "/") not in known:
            yield f"container {container['name']} names {word}, which is no file of {mount['name']}"


def _ports(workload: Workload) -> Iterator[str]:
    for container in workload.containers():
        names = {port.get("name") for port in container.get("ports", [])} | {port["containerPort"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for kind in ("httpGet", "tcpSocket"):
                if (action := container.get(probe, {}).get(kind)) and action["port"] not in names:
                    yield f"{probe} asks the port {action['port']}, which container {container['name']} does not have"


def _labels(workload: Workload) -> Iterator[str]:
    spec = workload.owner["spec"]
    if workload.owner["kind"] != "Job" and not _matches(spec["selector"], workload.labels):
        yield "its selector does not match its own pods"
    for spread in workload.pod.get("topologySpreadConstraints", []):
        if not _matches(spread["labelSelector"], workload.labels):
            yield f"the spread over {spread['topologyKey']} does not count its own pods"


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def _chosen(objects: Objects, selector: Object) -> list[Workload]:
    return [workload for workload in workloads(objects) if _matches(selector, workload.labels)]


def _services(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "Service"):
        chosen = _chosen(objects, {"matchLabels": item["spec"]["selector"]})
        if len(chosen) != 1:
            yield f"{name_of(item)} leads to the pods of {len(chosen)} workloads"
        for port in item["spec"]["ports"]:
            for workload in chosen:
                if port["targetPort"] not in workload.port_names() | workload.port_numbers():
                    yield f"{name_of(item)}: {workload.name} has no port {port['targetPort']}"
    for item in of_kind(objects, "StatefulSet"):
        if item["spec"]["serviceName"] not in _names_of(objects, "Service"):
            yield f"{name_of(item)}: there is no Service {item['spec']['serviceName']}"


def _ingresses(objects: Objects) -> Iterator[str]:
    ports = {item["metadata"]["name"]: {port["name"] for port in item["spec"]["ports"]} for item in of_kind(objects, "Service")}
    for item in of_kind(objects, "Ingress"):
        hosts = {host for tls in item["spec"].get("tls", []) for host in tls["hosts"]}
        for tls in item["spec"].get("tls", []):
            yield from _source("Secret", {"name": tls["secretName"]}, SECRETS, ["tls.crt", "tls.key"])
        for rule in item["spec"]["rules"]:
            if rule["host"] not in hosts:
                yield f"{name_of(item)}: {rule['host']} has no TLS"
            for path in rule["http"]["paths"]:
                service: Any = path["backend"]["service"]
                if service["port"]["name"] not in ports.get(service["name"], set()):
                    yield f"{name_of(item)}: there is no Service {service['name']} with a port {service['port']['name']}"


def _policies(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "NetworkPolicy"):
        spec = item["spec"]
        own = _chosen(objects, spec["podSelector"])
        if not own:
            yield f"{name_of(item)} chooses no pod"
        for direction, peers, targets in (("Ingress", "from", "own"), ("Egress", "to", "others")):
            rules = spec.get(direction.lower(), [])
            if rules and direction not in spec["policyTypes"]:
                yield f"{name_of(item)} has rules for {direction}, which is not in policyTypes"
            for rule in rules:
                others: list[Workload] = []
                for peer in rule.get(peers, []):
                    if "podSelector" in peer and "namespaceSelector" not in peer:
                        chosen = _chosen(objects, peer["podSelector"])
                        others += chosen
                        if not chosen:
                            yield f"{name_of(item)} names pods that do not exist: {peer['podSelector']}"
                for workload in own if targets == "own" else others:
                    for port in rule.get("ports", []):
                        if port["port"] not in workload.port_names() | workload.port_numbers():
                            yield f"{name_of(item)}: {workload.name} has no port {port['port']}"


def _scaling(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "PodDisruptionBudget"):
        if len(_chosen(objects, item["spec"]["selector"])) != 1:
            yield f"{name_of(item)} does not choose the pods of one workload"
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    if len(scalers) != 1:
        yield f"{len(scalers)} autoscalers instead of one"
    for item in scalers:
        target = item["spec"]["scaleTargetRef"]
        deployments = [each for each in of_kind(objects, target.get("kind", "Deployment")) if each["metadata"]["name"] == target["name"]]
        if not deployments:
            yield f"{name_of(item)}: there is no {target.get('kind', 'Deployment')} {target['name']}"
        least = item["spec"].get("minReplicas", item["spec"].get("minReplicaCount"))
        for each in deployments:
            if each["spec"]["replicas"] != least:
                yield f"{name_of(item)} begins at {least} pods, {name_of(each)} at {each['spec']['replicas']}"


def _rights(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "RoleBinding"):
        if item["roleRef"]["name"] not in _names_of(objects, item["roleRef"]["kind"]):
            yield f"{name_of(item)}: there is no {item['roleRef']['kind']} {item['roleRef']['name']}"
        for subject in item["subjects"]:
            if subject["name"] not in _names_of(objects, subject["kind"]) or subject["namespace"] != NAMESPACE:
                yield f"{name_of(item)}: there is no {subject['kind']} {subject['namespace']}/{subject['name']}"


def _monitors(objects: Objects) -> Iterator[str]:
    for item in of_kind(objects, "ServiceMonitor"):
        chosen = [service for service in of_kind(objects, "Service") if _matches(item["spec"]["selector"], service["metadata"]["labels"])]
        if len(chosen) != 1:
            yield f"{name_of(item)} chooses {len(chosen)} Services"
        for endpoint in item["spec"]["endpoints"]:
            key = endpoint.get("authorization", {}).get("credentials")
            yield from _source("Secret", key, SECRETS, [key["key"]] if key else None)
            for service in chosen:
                if endpoint["port"] not in {port["name"] for port in service["spec"]["ports"]}:
                    yield f"{name_of(item)}: {name_of(service)} has no port {endpoint['port']}"
