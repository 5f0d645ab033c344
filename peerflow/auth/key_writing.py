"""Writes a file of keys: the whole of it is replaced at once, so that no pod reads half of one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from engine.errors import ConfigError
from peerflow.auth import key_file
from peerflow.auth.key_file import Entry


def add(path: Path, entry: Entry) -> None:
    """Adds an entry to the file, which is made where there is none. Raises ConfigError; the file is then as it was."""
    # Where the path is a link, what it leads to is replaced, and the link stays.
    target = Path(os.path.realpath(path))
    entries = key_file.read(target) if target.exists() else []
    content = json.dumps({"keys": [item.to_json() for item in [*entries, entry]]}, indent=2, ensure_ascii=False) + "\n"
    # By the rules that a pod reads it by, a name that is taken among them.
    key_file.parse(content.encode(), str(path))
    try:
        _replace(target, content)
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}"]) from None


def _replace(path: Path, content: str) -> None:
    # mkstemp makes it readable for its owner alone.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
