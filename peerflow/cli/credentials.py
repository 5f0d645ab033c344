"""The caller's key, from the environment: what stands on a command line can be read by everybody on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from engine.errors import ConfigError

VARIABLE: Final = "PEERFLOW_API_KEY"
FILE_VARIABLE: Final = "PEERFLOW_API_KEY_FILE"
LARGEST_BYTES: Final = 65_536


def api_key() -> str | None:
    """The key or token that goes with each request; None where the environment has none. Raises ConfigError."""
    key, path = os.environ.get(VARIABLE, "").strip(), os.environ.get(FILE_VARIABLE, "").strip()
    if key and path:
        raise ConfigError([f"{VARIABLE} and {FILE_VARIABLE} are both set; unset one"])
    return _read(Path(path)) if path else key or None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES)
    except OSError as error:
        raise ConfigError([f"{FILE_VARIABLE} ({path}): {(error.strerror or str(error)).lower()}"]) from None
    key = data.decode("ascii", "replace").strip()
    if not key:
        raise ConfigError([f"{FILE_VARIABLE} ({path}): the file is empty; it must hold one key"])
    return key


def remedy(status: int) -> str | None:
    """What somebody at a terminal does about a refusal with this status; None where the pod's own words say it."""
    if status != 401:
        return None
    if os.environ.get(VARIABLE) or os.environ.get(FILE_VARIABLE):
        return f"look at {VARIABLE if os.environ.get(VARIABLE) else FILE_VARIABLE}: the key there is unknown to this pod, or has expired"
    return f"set {VARIABLE} to your key, or {FILE_VARIABLE} to a file that holds it"
