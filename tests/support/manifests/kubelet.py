"""Runs a pod template in Docker as a kubelet would: its users, capabilities, read-only roots, volumes, variables, commands, probes.

What Docker has no word for is left out: requests, service accounts, the order of probes.
"""

# Docker's client does not annotate what it answers.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.manifests.objects import Object, Objects, Workload, of_kind

LONGEST_LIFE_SECONDS: Final = 600
"""A container whose test session was killed before it could end it is ended by this."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Objects, the Secrets that no file holds, what Docker calls the images, a folder for volumes, a network."""

    objects: Objects
    secrets: dict[str, dict[str, str]]
    images: dict[str, str]
    folder: Path
    network: Any
    exits: ExitStack

    def start(self, workload: Workload, *, alias: str) -> RunningPod:
        """Runs the init containers to their end, then the first container. Raises AssertionError where an init container fails."""
        volumes = self._volumes(workload)
        for container in workload.pod.get("initContainers", []):
            ended = self.run(workload, container, volumes)
            status: int = ended.wait(timeout=60)["StatusCode"]
            assert status == 0, ended.logs().decode()
        (container,) = workload.pod["containers"]
        return RunningPod(container, self.run(workload, container, volumes, alias=alias), alias)

    def run(self, workload: Workload, container: Object, volumes: dict[str, Path], *, alias: str = "") -> Any:
        """Starts one container, and answers Docker's handle."""
        from testcontainers.core.container import DockerContainer

        pod, context = workload.pod["securityContext"], container["securityContext"]
        variables = self._variables(container)
        command = [_expand(word, variables) for word in [*container.get("command", []), *container.get("args", [])]]
        made = DockerContainer(self.images[container["image"]]).with_kwargs(
            user=f"{pod['runAsUser']}:{pod['runAsGroup']}",
            read_only=context["readOnlyRootFilesystem"],
            cap_drop=context["capabilities"]["drop"],
            security_opt=[] if context["allowPrivilegeEscalation"] else ["no-new-privileges:true"],
            mem_limit=container["resources"]["limits"]["memory"].removesuffix("i").lower(),
            # A command takes the place of the image's entry point.
            **({"entrypoint": command[:1]} if container.get("command") else {}),
        )
        made = made.with_command(command[1:]) if container.get("command") else made
        for name, value in variables.items():
            made = made.with_env(name, value)
        for mount in container.get("volumeMounts", []):
            made = made.with_volume_mapping(str(volumes[mount["name"]]), mount["mountPath"], "ro" if mount.get("readOnly") else "rw")
        for port in container.get("ports", []):
            made = made.with_exposed_ports(port["containerPort"])
        made = made.with_network(self.network)
        made = made.with_network_aliases(alias) if alias else made
        self.exits.callback(made.get_docker_client().client.close)
        self.exits.callback(made.stop)
        made.start()
        return made.get_wrapped_container()

    def _variables(self, container: Object) -> dict[str, str]:
        maps = {item["metadata"]["name"]: item["data"] for item in of_kind(self.objects, "ConfigMap")}
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= maps[source["configMapRef"]["name"]]
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            value = self.secrets[reference["name"]][reference["key"]] if reference else str(variable.get("value") or "")
            found[variable["name"]] = _expand(value, found)
        return found

    def _volumes(self, workload: Workload) -> dict[str, Path]:
        """A folder for each; what the pod may write is everybody's, in place of fsGroup. A claim's folder stays from pod to pod."""
        maps = {item["metadata"]["name"]: item["data"] for item in of_kind(self.objects, "ConfigMap")}
        found: dict[str, Path] = {}
        for volume in workload.pod.get("volumes", []):
            path = found[volume["name"]] = self.folder / f"{workload.owner['metadata']['name']}-{volume['name']}-{os.urandom(4).hex()}"
            path.mkdir()
            source = volume.get("configMap") or volume.get("secret")
            if source is None:
                path.chmod(0o777)
                continue
            data = maps.get(source.get("name")) or self.secrets.get(source.get("secretName"), {})
            items = {item["key"]: item["path"] for item in source["items"]} if "items" in source else {key: key for key in data}
            for key, name in items.items() if data or not source.get("optional") else ():
                (path / name).write_text(data[key])
                (path / name).chmod(0o444)
        for claim in workload.owner["spec"].get("volumeClaimTemplates", []):
            path = found[claim["metadata"]["name"]] = self.folder / f"claim-{claim['metadata']['name']}"
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        return found


@dataclass(frozen=True, slots=True)
class RunningPod:
    spec: Object
    """Of its container."""
    container: Any
    host: str

    def probe(self, name: str) -> tuple[bool, str]:
        """Whether a probe that runs a command succeeds, and what it says."""
        done = self.container.exec_run(self.spec[name]["exec"]["command"])
        return done.exit_code == 0, done.output.decode()

    def url(self) -> str:
        """Where this machine reaches the first port."""
        self.container.reload()
        port = self.container.attrs["NetworkSettings"]["Ports"][f"{self.spec['ports'][0]['containerPort']}/tcp"][0]["HostPort"]
        return f"http://127.0.0.1:{port}"


def _expand(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)
