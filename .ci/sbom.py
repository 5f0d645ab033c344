"""Writes build/peerflow.cdx.json: what a pod is made of, as a CycloneDX document, from the lock. Fails where the two do not agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "runtime.txt"
OUT = ROOT / "build" / "peerflow.cdx.json"


def main() -> int:
    OUT.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK), "--pyproject", str(ROOT / "pyproject.toml")]
    subprocess.run([*command, "--mc-type", "application", "--output-reproducible", "--validate", "-o", str(OUT)], check=True, timeout=120)
    problems = differences(json.loads(OUT.read_text(encoding="utf-8")), LOCK.read_text(encoding="utf-8"))
    for problem in problems:
        print(problem)
    print(f"{OUT.relative_to(ROOT)}: {'differs from the lock' if problems else 'every locked package, its version and hashes'}")
    return 1 if problems else 0


def differences(document: dict[str, Any], lock: str) -> list[str]:
    """What the lock pins and the document does not say in the same words, and the other way round."""
    pinned = {name: (version, hashes) for name, version, hashes in locked(lock)}
    listed = {
        name: (version, hashes) for name, version, hashes in map(listed_package, cast("list[dict[str, Any]]", document["components"]))
    }
    return [
        f"{name}: the lock has {pinned.get(name, 'nothing')}, the document {listed.get(name, 'nothing')}"
        for name in sorted(pinned.keys() | listed.keys())
        if pinned.get(name) != listed.get(name)
    ]


def locked(lock: str) -> list[tuple[str, str, frozenset[str]]]:
    entries = re.findall(r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+)((?:.*\\\n)(?:    --hash=.*\n?)+)", lock, re.MULTILINE)
    return [(name, version, frozenset(re.findall(r"sha256:([0-9a-f]{64})", hashes))) for name, version, hashes in entries]


def listed_package(component: dict[str, Any]) -> tuple[str, str, frozenset[str]]:
    references = cast("list[dict[str, Any]]", component.get("externalReferences", []))
    hashes = {item["content"] for reference in references for item in reference.get("hashes", []) if item["alg"] == "SHA-256"}
    return component["name"], component["version"], frozenset(hashes)


if __name__ == "__main__":
    sys.exit(main())
