"""Every object that `kubectl apply` sends, of every folder, holds what the checks ask."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.support.manifests import habits, objects, product, references, restricted, schemas
from tests.support.manifests.objects import FOLDERS, K8S, Object, Objects


def test_the_schemas_are_those_of_the_release_that_the_manifests_name() -> None:
    assert schemas.latest() == schemas.RELEASE, "a newer release of Kubernetes is in the lock: raise RELEASE and look at what changed"
    labels = objects.by_name(objects.applied(), "Namespace/peerflow")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce-version"] == f"v{schemas.RELEASE}"


def test_every_object_fits_its_schema(objects: Objects) -> None:
    assert schemas.check(objects) == []


def test_every_pod_is_admitted_by_the_restricted_standard(objects: Objects) -> None:
    assert restricted.check(objects) == []


def test_every_pod_has_limits_probes_and_no_token_and_every_image_a_version(objects: Objects) -> None:
    assert habits.check(objects) == []


def test_every_name_key_label_and_port_leads_somewhere(objects: Objects) -> None:
    assert references.check(objects) == []


def test_settings_routes_ports_and_times_are_the_products_own(objects: Objects, routes: set[str]) -> None:
    assert product.check(objects, routes) == []


def test_applying_the_folder_as_files_sends_what_applying_it_by_kustomize_does() -> None:
    """kubectl itself reads the folder; it takes the links, and leaves the file `Kustomization` and the folders out."""
    # Not into sub-folders: the default of apply, and not of this command, which needs no cluster.
    command = [objects.kubectl(), "annotate", "--local", "--recursive=false", "--filename", str(K8S), "read-by=kubectl", "--output", "yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    read = [item for item in yaml.safe_load_all(done.stdout) if item]
    names = [objects.name_of(item) for item in read]
    assert names == [objects.name_of(item) for item in objects.applied()]
    assert sorted(names) == sorted(objects.name_of(item) for item in objects.rendered("."))
    for item in read:
        del item["metadata"]["annotations"]
        assert item == objects.by_name(objects.rendered("."), objects.name_of(item))


def test_the_namespace_is_sent_first() -> None:
    assert objects.applied()[0]["kind"] == "Namespace"


def test_every_file_of_the_base_is_linked_and_listed() -> None:
    files = sorted(path.name for path in (K8S / "base").glob("*.yaml"))
    assert sorted(path.name for path in K8S.glob("*.yaml")) == files
    assert all((K8S / name).resolve() == (K8S / "base" / name).resolve() for name in files)
    assert yaml.safe_load((K8S / "base" / "Kustomization").read_text())["resources"] == files


def test_every_component_is_used_by_an_overlay() -> None:
    used = "".join(path.read_text() for path in K8S.rglob("kustomization.yaml"))
    components = {path.parent.name for path in K8S.glob("components/*/kustomization.yaml")}
    assert {name for name in components if f"/{name}\n" in used} == components
    assert components - {"no-redis"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", ["external-redis", "sentinel", "redis-cluster"])
def test_another_redis_leaves_nothing_of_the_bases_own_behind(folder: str) -> None:
    kinds = {item["kind"] for item in objects.rendered(folder)}
    assert not kinds & {"StatefulSet", "Job", "Role", "RoleBinding"}
    assert "redis" not in {workload.labels["app.kubernetes.io/component"] for workload in objects.workloads(objects.rendered(folder))}


@pytest.mark.parametrize("folder", ["ingress", "tls", "production"])
def test_what_can_be_reached_from_outside_asks_for_a_key_and_has_tls(folder: str) -> None:
    rendered = objects.rendered(folder)
    (pods,) = [workload for workload in objects.workloads(rendered) if workload.name == "Deployment/peerflow"]
    assert "PEERFLOW_API_KEYS_FILE" in product.environment_of(rendered, pods)
    assert objects.of_kind(rendered, "Ingress")[0]["spec"]["tls"]


def test_redis_with_tls_answers_nobody_without_it() -> None:
    rendered = objects.rendered("redis-tls")
    (container,) = objects.by_name(rendered, "StatefulSet/peerflow-redis")["spec"]["template"]["spec"]["containers"]
    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert arguments["--port"] == "0"
    assert arguments["--tls-port"] == str(container["ports"][0]["containerPort"])
    (pods,) = [workload for workload in objects.workloads(rendered) if workload.name == "Deployment/peerflow"]
    assert product.environment_of(rendered, pods)["PEERFLOW_REDIS_URL"].startswith("rediss://")


def test_a_rolling_update_fits_a_node_of_two_cores_beside_its_control_plane() -> None:
    deployment = objects.by_name(objects.rendered("base"), "Deployment/peerflow")["spec"]
    redis = objects.by_name(objects.rendered("base"), "StatefulSet/peerflow-redis")["spec"]
    pods = deployment["replicas"] + deployment["strategy"]["rollingUpdate"]["maxSurge"]
    # 850m: what the API server, etcd, the two controllers and DNS request where kubeadm, kind or minikube start them.
    assert pods * millicores(deployment) + millicores(redis) <= 2000 - 850


def millicores(spec: Object) -> int:
    requested = [container["resources"]["requests"]["cpu"] for container in spec["template"]["spec"]["containers"]]
    return sum(int(cpu.removesuffix("m")) if cpu.endswith("m") else 1000 * int(cpu) for cpu in requested)
