"""How settings are shown: values as text, with what is secret hidden, and the sentence that refuses one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

Source = Literal["default", "environment", "command line"]

HIDDEN = "***"
LONGEST_CHARS = 200
"""Of a refused value; the rest of it would only bury the remedy."""


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One line of `peerflow doctor`: the variable, the value in force (secrets hidden), and where it came from."""

    name: str
    value: str
    source: Source


def shown(value: object) -> str:
    """The value as a user would write it; a `SecretStr` is a URL and loses its password."""
    if isinstance(value, SecretStr):
        return redact_url(value.get_secret_value())
    if value is None:
        return "embedded Valkey"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in cast("Iterable[object]", value))
    return str(value)


def refusal(name: str, value: object, must_be: str, *, secret: bool) -> str:
    """`PEERFLOW_PORT (abc) must be a port from 0 to 65535`; control characters are escaped."""
    text = shown(SecretStr(value)) if secret and isinstance(value, str) else shown(value)
    printable = text if text.isprintable() else ascii(text)[1:-1]
    cut = printable if len(printable) <= LONGEST_CHARS else f"{printable[:LONGEST_CHARS]}…"
    return f"{name} ({cut}) must be {must_be}"


def redact_url(url: str) -> str:
    """The URL without its password: `redis://user:***@host:6379/0`. What cannot be taken apart is hidden altogether.

    An unescaped `/`, `?` or `#` in a password ends the host part early; the `@` behind it, or the fragment, gives that away.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    if not parts.scheme or parts.fragment or "@" in parts.path + parts.query:
        return HIDDEN
    user, host = _user_and_host(parts)
    query = "&".join(_redact_parameter(item) for item in parts.query.split("&")) if parts.query else ""
    return f"{parts.scheme}://{user}{host}{parts.path}{'?' + query if query else ''}"


def _user_and_host(parts: SplitResult) -> tuple[str, str]:
    before, at, host = parts.netloc.rpartition("@")
    name, colon, _ = before.partition(":")
    return (f"{name}{':' + HIDDEN if colon else ''}@" if at else ""), host


def _redact_parameter(item: str) -> str:
    name, equals, _ = item.partition("=")
    return f"{name}={HIDDEN}" if equals and "password" in name.lower() else item
