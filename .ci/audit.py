"""Asks the index's vulnerability database about every locked package that a pod installs.

Exit status: 0, nothing is known against any of them; 1, something is; 3, packages could not be looked up, so nothing is known about them
(0 with `--allow-unreachable`, for machines that reach a mirror of the packages and no database; the last line says so).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict, cast

LOCK = Path(__file__).parent.parent / "requirements" / "runtime.txt"
VULNERABLE, UNKNOWN = 1, 3


class Vulnerability(TypedDict):
    id: str
    fix_versions: list[str]


class Package(TypedDict, total=False):
    name: str
    version: str
    vulns: list[Vulnerability]
    skip_reason: str


def main(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
    answer = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False, timeout=300
    )
    try:
        packages = cast("list[Package]", json.loads(answer.stdout)["dependencies"])
    except ValueError:
        return unknown(f"pip-audit gave no answer: {answer.stderr.strip().splitlines()[-1:]}", arguments)
    found = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
    for package, flaw in found:
        print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release yet'}")
    if found:
        return VULNERABLE
    if skipped := [package for package in packages if "skip_reason" in package]:
        return unknown(f"{len(skipped)} of {len(packages)} packages are not known to the database that was reached", arguments)
    print(f"nothing is known against any of {len(packages)} packages")
    return 0


def unknown(reason: str, arguments: list[str]) -> int:
    print(f"NOT AUDITED: {reason}")
    return 0 if "--allow-unreachable" in arguments else UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
