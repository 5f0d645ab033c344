"""Writes the parts of deploy/k8s that are made of other files: the ACL of Redis, the alert rules, the dashboard.

    python .ci/manifests.py           writes them
    python .ci/manifests.py --check   says which differ, exit status 1

kustomize reads no file outside of an overlay's own folder, and `kubectl apply -f` makes no ConfigMap of a file: so these are copies.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ACL: Final = ROOT / "deploy" / "redis" / "users.acl"
ALERTS: Final = ROOT / "deploy" / "monitoring" / "alerts.yaml"
DASHBOARD: Final = ROOT / "deploy" / "monitoring" / "dashboard.json"
CONFIG: Final = ROOT / "deploy" / "k8s" / "base" / "30-redis-config.yaml"
MONITORING: Final = ROOT / "deploy" / "k8s" / "components" / "monitoring"

RULE_HEAD: Final = """\
# Made of deploy/monitoring/alerts.yaml by `make manifests`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: peerflow
  namespace: peerflow
  labels:
    app.kubernetes.io/part-of: peerflow
    # What kube-prometheus-stack selects by; its value is the name of your Helm release.
    release: prometheus
spec:
"""


def acl(config: str, users: str) -> str:
    """The ConfigMap with the rule of the user `peerflow` that the file has; the password's hash is put in when Redis starts."""
    (rule,) = re.findall(r"^user peerflow .*$", users, re.MULTILINE)
    marked, hashes = re.subn(r"#[0-9a-f]{64}", "@PASSWORD@", rule)
    if hashes != 1:
        raise SystemExit(f"{ACL.name}: the user peerflow must have one password, as a hash")
    return re.sub(r"^    user peerflow .*$", lambda _: f"    {marked}", config, flags=re.MULTILINE)


def prometheus_rule(alerts: str) -> str:
    body = alerts[alerts.index("groups:") :]
    return RULE_HEAD + "".join(f"  {line}" if line.strip() else line for line in body.splitlines(keepends=True))


def wanted() -> Iterator[tuple[Path, str]]:
    """Each file and what it must be."""
    if ACL.exists():
        yield CONFIG, acl(CONFIG.read_text(encoding="utf-8"), ACL.read_text(encoding="utf-8"))
    if ALERTS.exists():
        yield MONITORING / "prometheus-rule.yaml", prometheus_rule(ALERTS.read_text(encoding="utf-8"))
    if DASHBOARD.exists():
        yield MONITORING / "dashboard.json", DASHBOARD.read_text(encoding="utf-8")


def main(arguments: list[str]) -> int:
    different = [(path, text) for path, text in wanted() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in different:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is not what it is made of: run `make manifests`")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
