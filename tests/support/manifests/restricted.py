"""The Pod Security Standard `restricted`, as of Kubernetes 1.37, field by field, for every pod template.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ has the fields; the admission plugin checks the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.support.manifests.objects import Object, Objects, workloads

VOLUMES: Final = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP: Final = {"RuntimeDefault", "Localhost"}
APPARMOR: Final = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS: Final = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
NAMESPACE_LABELS: Final = ("enforce", "audit", "warn")


def check(objects: Objects) -> list[str]:
    """What the admission plugin would refuse."""
    problems = list(_namespaces(objects))
    for workload in workloads(objects):
        problems += [f"{workload.name}: {problem}" for problem in _pod(workload.pod)]
        for container in workload.containers():
            problems += [f"{workload.name}, container {container['name']}: {problem}" for problem in _container(container, workload.pod)]
    return problems


def _namespaces(objects: Objects) -> Iterator[str]:
    for item in objects:
        if item["kind"] == "Namespace":
            labels = item["metadata"].get("labels", {})
            for mode in NAMESPACE_LABELS:
                if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                    yield f"Namespace/{item['metadata']['name']}: {mode} is not restricted"
                if not str(labels.get(f"pod-security.kubernetes.io/{mode}-version", "")).startswith("v1."):
                    yield f"Namespace/{item['metadata']['name']}: {mode}-version is not pinned"


def _pod(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is true"
    for volume in pod.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is of the kind {kind}"
    context = pod.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"the sysctl {sysctl['name']} is not safe"
    yield from _context(context)


def _container(container: Object, pod: Object) -> Iterator[str]:
    context: dict[str, Any] = container.get("securityContext", {})
    whole: dict[str, Any] = pod.get("securityContext", {})
    yield from _context(context)
    if context.get("privileged"):
        yield "privileged is true"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities.drop lacks ALL"
    for added in set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"the capability {added} is added"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if context.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if context.get("seccompProfile", whole.get("seccompProfile", {})).get("type") not in SECCOMP:
        yield "seccompProfile is neither RuntimeDefault nor Localhost"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    for name, action in _actions(container):
        if any(action.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield f"{name} names a host"


def _context(context: Object) -> Iterator[str]:
    """What is the same for pods and containers."""
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess is true"
    if "seccompProfile" in context and context["seccompProfile"].get("type") not in SECCOMP:
        yield f"seccompProfile is {context['seccompProfile'].get('type')}"
    if "appArmorProfile" in context and context["appArmorProfile"].get("type") not in APPARMOR:
        yield f"appArmorProfile is {context['appArmorProfile'].get('type')}"
    options = context.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
        yield "seLinuxOptions"


def _actions(container: Object) -> Iterator[tuple[str, Object]]:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield name, container[name]
    for name, action in container.get("lifecycle", {}).items():
        if isinstance(action, dict):
            yield name, action
