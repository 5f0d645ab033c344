"""Mistakes that somebody could make in a manifest: object, place, wrong value, and what the check that sees it says."""

from __future__ import annotations

from typing import Final

from tests.support.manifests.objects import DELETE

Mistake = tuple[str, str, object, str]

PODS, REDIS, JOB = "Deployment/peerflow", "StatefulSet/peerflow-redis", "Job/peerflow-redis-password"
POD = "spec.template.spec"
FIRST = f"{POD}.containers[0]"

RESTRICTED: Final[list[Mistake]] = [
    (PODS, f"{POD}.hostNetwork", True, "hostNetwork"),
    (PODS, f"{POD}.hostPID", True, "hostPID"),
    (PODS, f"{POD}.hostIPC", True, "hostIPC"),
    (PODS, f"{POD}.volumes[0]", {"name": "tmp", "hostPath": {"path": "/tmp"}}, "hostPath"),
    (PODS, f"{POD}.volumes[0]", {"name": "tmp", "nfs": {"server": "s", "path": "/"}}, "nfs"),
    (PODS, f"{POD}.securityContext.runAsNonRoot", DELETE, "runAsNonRoot"),
    (REDIS, f"{POD}.securityContext.runAsUser", 0, "runAsUser is 0"),
    (PODS, f"{POD}.securityContext.seccompProfile", DELETE, "seccompProfile"),
    (JOB, f"{POD}.securityContext.seccompProfile.type", "Unconfined", "Unconfined"),
    (PODS, f"{POD}.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "kernel.msgmax"),
    (PODS, f"{POD}.securityContext.windowsOptions", {"hostProcess": True}, "hostProcess"),
    (PODS, f"{POD}.securityContext.appArmorProfile", {"type": "Unconfined"}, "appArmorProfile"),
    (PODS, f"{POD}.securityContext.seLinuxOptions", {"user": "u"}, "seLinuxOptions"),
    (PODS, f"{FIRST}.securityContext.privileged", True, "privileged"),
    (PODS, f"{FIRST}.securityContext.allowPrivilegeEscalation", DELETE, "allowPrivilegeEscalation"),
    (REDIS, f"{POD}.initContainers[0].securityContext.allowPrivilegeEscalation", True, "container acl: allowPrivilegeEscalation"),
    (REDIS, f"{POD}.initContainers[0].securityContext.capabilities.drop", ["NET_RAW"], "container acl: capabilities.drop"),
    (PODS, f"{FIRST}.securityContext.capabilities.add", ["NET_ADMIN"], "NET_ADMIN"),
    (PODS, f"{FIRST}.securityContext.procMount", "Unmasked", "procMount"),
    (PODS, f"{FIRST}.securityContext.runAsUser", 0, "runAsUser is 0"),
    (PODS, f"{FIRST}.securityContext.runAsNonRoot", False, "runAsNonRoot"),
    (PODS, f"{FIRST}.ports[0].hostPort", 8000, "hostPort"),
    (PODS, f"{FIRST}.livenessProbe.httpGet.host", "example.com", "livenessProbe names a host"),
    (PODS, f"{FIRST}.lifecycle.preStop.httpGet.host", "example.com", "preStop names a host"),
    ("Namespace/peerflow", "metadata.labels.pod-security~kubernetes~io/enforce", "baseline", "enforce is not restricted"),
    ("Namespace/peerflow", "metadata.labels.pod-security~kubernetes~io/warn-version", "latest", "warn-version"),
]
HABITS: Final[list[Mistake]] = [
    (PODS, f"{FIRST}.image", "peerflow", "neither version nor digest"),
    (PODS, f"{FIRST}.image", "registry.example.com:5000/peerflow:latest", "neither version nor digest"),
    (REDIS, f"{POD}.initContainers[0].image", "redis:latest", "container acl: the image"),
    (PODS, f"{POD}.automountServiceAccountToken", DELETE, "automountServiceAccountToken"),
    (PODS, f"{POD}.enableServiceLinks", True, "enableServiceLinks"),
    (PODS, f"{POD}.serviceAccountName", "default", "default service account"),
    (PODS, f"{POD}.volumes[0]", {"name": "tmp", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, "mounts a token"),
    (PODS, f"{FIRST}.livenessProbe", DELETE, "no livenessProbe"),
    (REDIS, f"{FIRST}.startupProbe", DELETE, "no startupProbe"),
    (PODS, f"{FIRST}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem"),
    (PODS, f"{FIRST}.resources.limits.memory", DELETE, "resources.limits lacks memory"),
    (JOB, f"{FIRST}.resources.requests", DELETE, "resources.requests lacks cpu"),
    (PODS, "spec.strategy.rollingUpdate.maxUnavailable", 1, "maxUnavailable"),
    (PODS, f"{POD}.topologySpreadConstraints", DELETE, "no spread over"),
    ("Service/peerflow", "spec.type", "LoadBalancer", "from outside"),
    ("NetworkPolicy/default-deny", "spec.ingress", [{}], "denies by default"),
    ("ConfigMap/peerflow-settings-1", "kind", "Secret", "a file holds a secret"),
]
REFERENCES: Final[list[Mistake]] = [
    (PODS, f"{POD}.serviceAccountName", "perflow", "no ServiceAccount perflow"),
    (PODS, f"{FIRST}.envFrom[0].configMapRef.name", "peerflow-settings-2", "no ConfigMap peerflow-settings-2"),
    (PODS, f"{FIRST}.env[0].valueFrom.secretKeyRef.key", "pass", "no key pass"),
    (PODS, f"{FIRST}.env[0].name", "PASSWORD", "uses $(REDIS_PASSWORD)"),
    (PODS, f"{POD}.volumes[1].secret.secretName", "keys", "no Secret keys"),
    (PODS, f"{FIRST}.volumeMounts[0].name", "temp", "mounts temp"),
    (PODS, f"{POD}.volumes[2]", {"name": "more", "emptyDir": {}}, "more is mounted nowhere"),
    (REDIS, f"{POD}.volumes[0].configMap.name", "peerflow-redis-2", "no ConfigMap peerflow-redis-2"),
    (REDIS, f"{POD}.volumes[1].secret.items[0].key", "pass", "no key pass"),
    (REDIS, f"{FIRST}.command", ["redis-server", "/etc/redis/reds.conf"], "names /etc/redis/reds.conf"),
    (REDIS, f"{FIRST}.livenessProbe.exec.command", ["sh", "/etc/redis/pong"], "names /etc/redis/pong"),
    (JOB, f"{POD}.volumes[0].projected.sources[1].configMap.items[0].key", "ca", "no key ca"),
    (PODS, f"{FIRST}.readinessProbe.httpGet.port", "web", "asks the port web"),
    (PODS, "spec.selector.matchLabels.app~kubernetes~io/name", "other", "does not match its own pods"),
    (PODS, f"{POD}.topologySpreadConstraints[1].labelSelector.matchLabels", {"a": "b"}, "does not count its own pods"),
    ("Service/peerflow", "spec.selector", {"app.kubernetes.io/name": "peerflow"}, "the pods of 3 workloads"),
    ("Service/peerflow", "spec.ports[0].targetPort", "web", "no port web"),
    (REDIS, "spec.serviceName", "redis", "no Service redis"),
    ("PodDisruptionBudget/peerflow", "spec.selector.matchLabels", {"app": "peerflow"}, "pods of one workload"),
    ("HorizontalPodAutoscaler/peerflow", "spec.scaleTargetRef.name", "pf", "no Deployment pf"),
    ("HorizontalPodAutoscaler/peerflow", "spec.minReplicas", 1, "begins at 1 pods"),
    ("NetworkPolicy/peerflow", "spec.podSelector.matchLabels", {"app": "x"}, "chooses no pod"),
    ("NetworkPolicy/peerflow", "spec.egress[0].to[0].podSelector.matchLabels", {"app": "x"}, "pods that do not exist"),
    ("NetworkPolicy/peerflow", "spec.egress[0].ports[0].port", 6380, "no port 6380"),
    ("NetworkPolicy/peerflow-redis", "spec.ingress[0].ports[0].port", 8000, "no port 8000"),
    ("NetworkPolicy/peerflow", "spec.policyTypes", ["Ingress"], "not in policyTypes"),
    ("RoleBinding/peerflow-setup", "roleRef.name", "setup", "no Role setup"),
    ("RoleBinding/peerflow-setup", "subjects[0].namespace", "default", "no ServiceAccount default/peerflow-setup"),
    ("Service/peerflow", "metadata.namespace", DELETE, "not in the namespace"),
    ("Ingress/peerflow", "spec.rules[0].http.paths[0].backend.service.port.name", "web", "with a port web"),
    ("Ingress/peerflow", "spec.tls[0].hosts", ["other.example.com"], "has no TLS"),
    ("Ingress/peerflow", "spec.tls[0].secretName", "tls", "no Secret tls"),
    ("ServiceMonitor/peerflow", "spec.endpoints[0].port", "metrics", "no port metrics"),
    ("ServiceMonitor/peerflow", "spec.selector.matchLabels", {"a": "b"}, "chooses 0 Services"),
]
PRODUCT: Final[list[Mistake]] = [
    ("ConfigMap/peerflow-settings-1", "data.PEERFLOW_CONCURENCY", "5", "did you mean PEERFLOW_CONCURRENCY"),
    ("ConfigMap/peerflow-settings-1", "data.PEERFLOW_CONCURRENCY", "many", "concurrency"),
    ("ConfigMap/peerflow-settings-1", "data.PEERFLOW_PORT", "9000", "listens on 9000"),
    ("ConfigMap/peerflow-settings-1", "data.PEERFLOW_GRACE_SECONDS", "60", "terminationGracePeriodSeconds is 80"),
    (PODS, f"{POD}.terminationGracePeriodSeconds", 30, "terminationGracePeriodSeconds is 30"),
    (PODS, f"{POD}.terminationGracePeriodSeconds", 600, "no more than"),
    (PODS, f"{FIRST}.lifecycle", DELETE, "no preStop"),
    (PODS, f"{FIRST}.livenessProbe.httpGet.path", "/readyz", "livenessProbe asks /readyz"),
    (PODS, f"{FIRST}.readinessProbe.httpGet.path", "/ready", "no route /ready"),
    (PODS, f"{FIRST}.startupProbe.httpGet.path", "/readyz", "startupProbe asks /readyz"),
    (PODS, f"{FIRST}.env[1].value", "redis://peerflow:$(REDIS_PASSWORD)@redis:6379/0", "redis:6379"),
    (PODS, f"{FIRST}.env[1].value", "redis://peerflow-redis:6379/0", "the password of the Secret"),
    (REDIS, f"{POD}.terminationGracePeriodSeconds", 5, "preStop does not fit"),
    ("ServiceMonitor/peerflow", "spec.endpoints[0].path", "/metric", "no route /metric"),
]
SCHEMAS: Final[list[Mistake]] = [
    (PODS, "spec.replica", 3, "replica"),
    (PODS, f"{FIRST}.livenessProbe.httpGet.port", DELETE, "port"),
    (REDIS, "spec.template.spec.containers[0].resources.limits.memory", ["2Gi"], "memory"),
    ("NetworkPolicy/default-deny", "spec.policyType", ["Ingress"], "policyType"),
    ("NetworkPolicy/default-deny", "apiVersion", "extensions/v1beta1", "is not of Kubernetes"),
    ("ServiceMonitor/peerflow", "spec.endpoints[0].intervall", "15s", "intervall"),
    ("ServiceMonitor/peerflow", "spec.endpoints[0].interval", "15", "interval"),
    ("ScaledObject/peerflow", "spec.triggers[0].metadata.threshold", 100, "threshold"),
    ("ScaledObject/peerflow", "spec.minReplicas", 3, "minReplicas"),
]
