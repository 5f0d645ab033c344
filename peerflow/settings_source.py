"""Where settings come from: the `PEERFLOW_*` variables of the environment.

`read_environment` answers the texts by field; `unknown_variables` answers the typing errors.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

PREFIX: Final = "PEERFLOW_"
DEBUG: Final = "DEBUG"
"""The one variable without the prefix."""

NOT_FOR_PODS: Final = frozenset({"PEERFLOW_URL", "PEERFLOW_API_KEY", "PEERFLOW_API_KEY_FILE"})
"""Variables that the command line reads and a pod does not."""

_RESERVED: Final = "PEERFLOW_TEST_"
"""Switches of the test suite; its pods inherit them."""

# Kubernetes gives each pod variables for every Service of its namespace. A Service named `peerflow` or `peerflow-redis` makes
# PEERFLOW_SERVICE_HOST, PEERFLOW_REDIS_PORT_6379_TCP_ADDR, and PEERFLOW_PORT=tcp://10.0.0.7:8000, which is not our port.
_SERVICE_LINK_NAME: Final = re.compile(r"PEERFLOW_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)")
_SERVICE_LINK_PORT: Final = re.compile(r"PEERFLOW_(?:\w+_)?PORT")
_SERVICE_LINK_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://")


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return DEBUG if field == "debug" else PREFIX + field.upper()


def option(field: str) -> str:
    """The command line option that sets a field."""
    return "--" + field.replace("_", "-")


def read_environment(environ: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """Field → text, for each field whose variable is set to something. An empty variable counts as not set, as in `docker compose`."""
    found: dict[str, str] = {}
    for field in fields:
        text = environ.get(variable(field), "").strip()
        if text and not _is_service_link(variable(field), text):
            found[field] = text
    return found


def unknown_variables(environ: Mapping[str, str], fields: Collection[str]) -> list[str]:
    """One problem for each `PEERFLOW_*` variable that sets nothing, with the nearest name that does."""
    known = [variable(field) for field in fields]
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name in NOT_FOR_PODS or name.startswith(_RESERVED):
            continue
        if _is_service_link(name, environ[name]):
            continue
        problems.append(f"{name} is not a setting; {_remedy(name, known)}")
    return problems


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINK_NAME.fullmatch(name):
        return True
    return _SERVICE_LINK_PORT.fullmatch(name) is not None and _SERVICE_LINK_VALUE.match(value) is not None


def _remedy(name: str, known: list[str]) -> str:
    if name == PREFIX + DEBUG:
        return "the variable is DEBUG, without the prefix"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else "unset it (`peerflow doctor` lists all settings)"
