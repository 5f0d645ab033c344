"""The schemas of Kubernetes, and those of the few objects that others define."""

from __future__ import annotations

import functools
import importlib
from typing import Any, Final

from tests.support.manifests.objects import Object, Objects, name_of

RELEASE: Final = "1.37"
"""The release that the manifests are written for; a newer one in the lock makes its test fail, so that somebody looks."""


def _library(name: str) -> Any:
    """A library that is not typed, as one that may be anything."""
    return importlib.import_module(name)


def latest() -> str:
    """`1.37`: the newest release that there are schemas for."""
    return ".".join(str(_library("kubernetes_validate").latest_version()).split(".")[:2])


def check(objects: Objects) -> list[str]:
    """What the API server would refuse, unknown fields included."""
    return [problem for item in objects for problem in _check(item)]


def _check(item: Object) -> list[str]:
    try:
        errors = _validator(item["apiVersion"], item["kind"]).iter_errors(item)
    except FileNotFoundError:
        return [f"{name_of(item)}: {item['apiVersion']} {item['kind']} is not of Kubernetes {RELEASE}"]
    return [f"{name_of(item)}: {error.json_path}: {error.message}" for error in errors]


@functools.cache
def _validator(api_version: str, kind: str) -> Any:
    """As kubernetes_validate.validate makes one each time, which takes half a second."""
    draft = _library("jsonschema").Draft202012Validator
    if (schema := OTHERS.get((api_version, kind))) is not None:
        return draft(_object({"apiVersion": {}, "kind": {}, "metadata": {}, "spec": schema}))
    group, _, version = api_version.rpartition("/")
    file = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    return draft(_file(f"{file}.json"), registry=_definitions())


@functools.cache
def _definitions() -> Any:
    referencing = _library("referencing")
    return referencing.Resource.from_contents(_file("_definitions.json")) @ referencing.Registry()


def _file(name: str) -> Any:
    """One of the package's files, of the kind that takes no unknown field."""
    return _library("kubernetes_validate.utils").schema_contents(f"kubernetes-json-schema/v{RELEASE}.0-local-strict/{name}", RELEASE)


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
DURATION: Final[dict[str, Any]] = {"type": "string", "pattern": r"^\d+(ms|s|m|h|d)$"}
_ENDPOINT: Final = _object(
    {"port": TEXT, "path": TEXT, "interval": DURATION, "scrapeTimeout": DURATION, "authorization": {}}, "authorization"
)
_RULE: Final = _object(
    {"alert": TEXT, "record": TEXT, "expr": TEXT, "for": DURATION, "keep_firing_for": DURATION, "labels": TEXTS, "annotations": TEXTS},
    *("alert", "record", "for", "keep_firing_for", "labels", "annotations"),
)
_TRIGGER: Final = _object(
    {"type": TEXT, "name": TEXT, "metricType": {"enum": ["AverageValue", "Value", "Utilization"]}, "metadata": TEXTS}, "metricType", "name"
)
OTHERS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object({"selector": _object({"matchLabels": TEXTS}), "endpoints": _list(_ENDPOINT)}),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        {"groups": _list(_object({"name": TEXT, "interval": DURATION, "rules": _list(_RULE)}, "interval"))}
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        {
            "scaleTargetRef": _object({"name": TEXT}),
            "minReplicaCount": NUMBER,
            "maxReplicaCount": NUMBER,
            "pollingInterval": NUMBER,
            "cooldownPeriod": NUMBER,
            "fallback": _object(
                {
                    "failureThreshold": NUMBER,
                    "replicas": NUMBER,
                    "behavior": {"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
                }
            ),
            "advanced": _object({"horizontalPodAutoscalerConfig": _object({"behavior": {"type": "object"}})}),
            "triggers": _list(_TRIGGER),
        }
    ),
}
"""The fields that the manifests use of objects whose schemas no package has: others are refused, so that nobody adds one unseen."""
