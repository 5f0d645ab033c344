"""The commands of docs/kubernetes.md and docs/upgrading.md, for tests that run them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.markdown import ROOT, blocks

PAGES = ("docs/kubernetes.md", "docs/upgrading.md")
KUBERNETES = PAGES[0]


def commands(page: str) -> list[str]:
    """Each command of the page's consoles."""
    lines = (line for block in blocks(ROOT / page, "console") for line in block.text.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def command_with(word: str) -> str:
    """The one command of the walk-through that has this word."""
    (found,) = [command for command in commands(KUBERNETES) if word in command]
    return found


def make_certificates(folder: Path) -> dict[str, str]:
    """What the commands with openssl leave in the folder: tls.crt, tls.key, ca.crt."""
    for command in commands(KUBERNETES):
        if command.startswith("openssl"):
            subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True, timeout=60)
    return {name: (folder / name).read_text() for name in ("tls.crt", "tls.key", "ca.crt")}
