"""What `doctor` says of keys: those that a pod with these settings would know, and the caller's own."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import ConfigError, PeerflowError
from engine.events import Event
from peerflow.auth import key_file
from peerflow.auth.access import open_access
from peerflow.auth.events import IssuerLost
from peerflow.cli import credentials
from peerflow.cli.check import Check
from peerflow.cli.options import connect
from peerflow.client import ApiError
from peerflow.settings import Settings


@dataclass
class _Heard:
    events: list[Event] = field(default_factory=list[Event])

    def publish(self, event: Event, /) -> None:
        self.events.append(event)


def access(settings: Settings) -> list[Check]:
    """The file of keys and the issuer, where the settings name them."""
    found = [_keys(Path(settings.api_keys_file))] if settings.api_keys_file else []
    if settings.oidc_issuer and not any(check.verdict == "problem" for check in found):
        found.append(asyncio.run(_issuer(settings)))
    return found


def _keys(path: Path) -> Check:
    try:
        entries = key_file.read(path)
    except ConfigError as error:
        return Check("keys", "problem", "; ".join(error.problems), "a pod with these settings does not start")
    now = time.time()
    expired = [entry.name for entry in entries if entry.expires_at is not None and entry.expires_at.timestamp() <= now]
    if len(expired) == len(entries):
        return Check("keys", "warning", f"no key in {path} is valid", "`peerflow keys new` makes one")
    return Check("keys", "ok", f"{len(entries)} in {path}" + (f"; expired: {', '.join(expired)}" if expired else ""))


async def _issuer(settings: Settings) -> Check:
    heard = _Heard()
    opened = open_access(settings, heard)
    if opened is not None and await opened.fetch_keys():
        return Check("issuer", "ok", f"{settings.oidc_issuer} publishes keys that can be used")
    reason = "; ".join(event.reason for event in heard.events if isinstance(event, IssuerLost))
    return Check("issuer", "warning", reason, "until it answers, calls with tokens get 503; API keys work")


def own_key(url: str) -> list[Check]:
    """Whether the pod takes the key in this environment; nothing where there is no key, or no pod."""
    try:
        if credentials.api_key() is None:
            return []
        with connect(url) as client:
            client.functions()
    except ConfigError as error:
        return [Check("own key", "warning", problem) for problem in error.problems]
    except ApiError as error:
        if error.status == 401:
            return [Check("own key", "warning", error.detail, credentials.remedy(401) or "")]
        return [Check("own key", "note", error.detail)] if error.status == 403 else []
    except PeerflowError:
        return []
    return [Check("own key", "ok", f"{url} takes it")]
