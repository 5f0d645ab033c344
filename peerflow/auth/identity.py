"""What credentials prove: a name, a tenant, scopes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.errors import PeerflowError

DEFAULT_TENANT: Final = "default"
EVERYWHERE: Final = "*"
"""In place of a tenant: sees the runs of all tenants, and starts its own in `default`."""
TENANT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
TENANT_MUST_BE: Final = '1 to 64 characters of A-Z a-z 0-9 _ . -, or "*" for all tenants'


class Scope(StrEnum):
    """What a caller may be allowed to do."""

    SUBMIT = "submit"
    """Start runs."""
    READ = "read"
    """Read runs, functions, pods, queues and metrics."""
    CONTROL = "control"
    """Change runs: cancel them."""
    ADMIN = "admin"
    """All of these, and read who did what."""


SCOPES: Final = ", ".join(Scope)


@dataclass(frozen=True, slots=True)
class Identity:
    name: str
    """The name of a key, the subject of a token."""
    tenant: str
    scopes: frozenset[Scope]
    everywhere: bool
    """Sees the runs of all tenants."""
    expires_at: float | None
    """Seconds since 1970; None is never."""


class Refused(PeerflowError):
    """Credentials prove nothing. The text is for the caller, and says no more than the caller has proved to know."""


class IssuerUnavailable(PeerflowError):
    """Whether a token is right cannot be told, because its issuer's keys cannot be had now."""


def is_tenant(text: str) -> bool:
    return text == EVERYWHERE or TENANT.fullmatch(text) is not None


def tenant_of(text: str) -> tuple[str, bool]:
    """The tenant that runs are started in, and whether those of all tenants are seen."""
    return (DEFAULT_TENANT, True) if text == EVERYWHERE else (text, False)
