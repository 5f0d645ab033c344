"""The bill of materials is compared with the lock, both ways."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LOCK = """\
alpha==1.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
beta==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:{c}
""".format(a="a" * 64, b="b" * 64, c="c" * 64)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def component(name: str, version: str, *hashes: str) -> dict[str, Any]:
    listed = [{"alg": "SHA-256", "content": item * 64} for item in hashes]
    return {"name": name, "version": version, "externalReferences": [{"hashes": listed}]}


ALPHA, BETA = component("alpha", "1.0", "a", "b"), component("beta", "2.0", "c")


def test_a_document_that_says_what_the_lock_says_has_no_differences() -> None:
    assert load().differences({"components": [BETA, ALPHA]}, LOCK) == []


@pytest.mark.parametrize(
    ("components", "name"),
    [
        ([ALPHA], "beta"),
        ([ALPHA, component("beta", "2.1", "c")], "beta"),
        ([component("alpha", "1.0", "a"), BETA], "alpha"),
        ([ALPHA, BETA, component("gamma", "1", "d")], "gamma"),
    ],
    ids=["a package is missing", "another version", "a hash is missing", "a package too many"],
)
def test_a_document_that_differs_from_the_lock_is_refused_by_name(components: list[dict[str, Any]], name: str) -> None:
    (problem,) = load().differences({"components": components}, LOCK)
    assert problem.startswith(f"{name}:")


def test_every_package_of_the_real_lock_is_read_with_its_hashes() -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    read = load().locked(lock)
    assert len(read) == sum("==" in line for line in lock.splitlines() if not line.startswith(" ")) > 30
    assert sum(len(hashes) for _, _, hashes in read) == lock.count("--hash=sha256:")
