"""Each check sees the mistake that it is there for: one is planted at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.manifests import habits, product, references, restricted, schemas
from tests.support.manifests.mistakes import HABITS, PRODUCT, REFERENCES, RESTRICTED, SCHEMAS, Mistake
from tests.support.manifests.objects import Objects, planted, rendered

WHERE = {"Ingress": "ingress", "ServiceMonitor": "monitoring", "ScaledObject": "keda"}
"""Folders with objects that the base does not have."""


Check = Callable[[Objects], list[str]]


def check_product(objects: Objects) -> list[str]:
    return product.check(objects, {"/healthz", "/readyz", "/metrics"})


CASES: list[tuple[Check, Mistake]] = [
    *((restricted.check, mistake) for mistake in RESTRICTED),
    *((habits.check, mistake) for mistake in HABITS),
    *((references.check, mistake) for mistake in REFERENCES),
    *((check_product, mistake) for mistake in PRODUCT),
    *((schemas.check, mistake) for mistake in SCHEMAS),
]


@pytest.mark.parametrize(("check", "mistake"), CASES, ids=[f"{name} {path} {said}" for _, (name, path, _, said) in CASES])
def test_a_planted_mistake_is_seen(check: Check, mistake: Mistake) -> None:
    name, path, value, said = mistake
    objects = rendered(WHERE.get(name.partition("/")[0], "base"))
    assert check(objects) == []
    found = check(planted(objects, name, path, value))
    assert any(said in problem for problem in found), found


def test_an_object_that_is_there_twice_is_seen() -> None:
    objects = rendered("base")
    assert references.check([*objects, objects[1]])


def test_a_second_autoscaler_is_seen() -> None:
    objects = rendered("base")
    scalers = [item for item in rendered("keda") if item["kind"] == "ScaledObject"]
    assert any("2 autoscalers" in problem for problem in references.check([*objects, *scalers]))
