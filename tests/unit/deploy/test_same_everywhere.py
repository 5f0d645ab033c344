"""What several files say is the same in all of them: compose and manifests, the Dockerfile, the project's version."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from peerflow.settings import Settings
from peerflow.settings_source import variable
from tests.support.manifests import objects, product
from tests.support.pods import ROOT


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def pods() -> objects.Workload:
    return objects.Workload(objects.by_name(objects.rendered("base"), "Deployment/peerflow"))


def redis() -> objects.Workload:
    return objects.Workload(objects.by_name(objects.rendered("base"), "StatefulSet/peerflow-redis"))


def redis_conf() -> dict[str, str]:
    text = objects.by_name(objects.rendered("base"), "ConfigMap/peerflow-redis-1")["data"]["redis.conf"]
    lines = (line.strip() for line in text.splitlines())
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if line and not line.startswith("#")}


def test_compose_and_manifests_start_the_same_image_of_this_version() -> None:
    (image,) = {container["image"] for container in pods().containers()}
    assert {service["image"] for name, service in compose().items() if name != "redis"} == {image}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert image == f"peerflow:{version}"


def test_our_images_name_stands_once_in_the_manifests() -> None:
    files = [path for path in objects.K8S.rglob("*") if path.is_file() and not path.is_symlink()]
    uncommented = [re.sub(r"#.*", "", path.read_text(encoding="utf-8")) for path in files if path.suffix == ".yaml"]
    assert sum(len(re.findall(r"image: .*peerflow", text)) for text in uncommented) == 1


def test_compose_and_manifests_call_settings_by_the_same_names_and_mean_the_same() -> None:
    for name, service in compose().items():
        if name == "redis":
            continue
        in_manifests = product.environment_of(objects.rendered("base"), pods())
        assert set(service["environment"]) <= set(in_manifests) & {variable(field) for field in Settings.model_fields}
        assert service["environment"]["PEERFLOW_GRACE_SECONDS"] == in_manifests["PEERFLOW_GRACE_SECONDS"]
        assert float(service["stop_grace_period"].removesuffix("s")) > float(service["environment"]["PEERFLOW_GRACE_SECONDS"])


def test_compose_and_manifests_run_redis_8_with_the_same_promises() -> None:
    image = {container["image"] for container in redis().containers()}
    assert len(image) == 1
    assert image.pop().startswith(compose()["redis"]["image"] + ".")
    words = compose()["redis"]["command"].split()[1:]
    promised = {words[index].removeprefix("--"): words[index + 1] for index in range(0, len(words), 2)}
    assert promised == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert promised.items() <= redis_conf().items()


def test_redis_may_use_half_of_its_containers_memory() -> None:
    """While the append-only file is made anew, pages that change exist twice."""
    limit = redis().pod["containers"][0]["resources"]["limits"]["memory"]
    assert (redis_conf()["maxmemory"], limit) == ("1gb", "2Gi")


def test_users_and_python_are_the_dockerfiles() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert str(pods().pod["securityContext"]["runAsUser"]) in re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    job = objects.Workload(objects.by_name(objects.rendered("base"), "Job/peerflow-redis-password"))
    assert {container["image"] for container in job.containers()} == set(re.findall(r"^FROM (\S+) AS base$", dockerfile, re.MULTILINE))
