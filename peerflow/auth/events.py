"""What happens to the things that credentials are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from engine.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRead(Event):
    """The file of API keys has changed, and was read."""

    file: str
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRefused(Event):
    """The file of API keys has changed and cannot be used: the keys that were read before stay in force."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerLost(Event):
    """The issuer's keys cannot be had; those that the pod has stay in force for a day."""

    issuer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerBack(Event):
    issuer: str
    keys: int
    """How many of its keys can be used."""
