"""All credentials that a pod knows, put together from its settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ConfigError
from engine.events import Publisher
from peerflow.auth.api_key import START
from peerflow.auth.identity import Identity, Refused
from peerflow.auth.key_ring import UNKNOWN, KeyRing
from peerflow.settings_access import AccessSettings

if TYPE_CHECKING:
    from peerflow.auth.jwks import PublishedKeys
    from peerflow.auth.tokens import Tokens


class Access:
    """Says whose credentials these are; `run` keeps what they are compared with up to date."""

    def __init__(self, keys: KeyRing | None, tokens: Tokens | None, published: PublishedKeys | None = None) -> None:
        self._keys, self._tokens, self._published = keys, tokens, published

    async def identify(self, credentials: str) -> Identity:
        """Whose key or token it is. Raises Refused, and IssuerUnavailable where that cannot be told now."""
        if self._keys is not None and credentials.startswith(START):
            return self._keys.identify(credentials)
        if self._tokens is not None:
            return await self._tokens.identify(credentials)
        raise Refused(UNKNOWN)

    async def fetch_keys(self) -> bool:
        """Asks the issuer for its keys now; False where it does not answer, which is published."""
        return self._published is not None and await self._published.fetch()

    async def run(self, publisher: Publisher) -> None:
        """Watches the file of keys and the issuer, for ever."""
        async with asyncio.TaskGroup() as loops:
            if self._keys is not None:
                loops.create_task(self._keys.watch(publisher))
            if self._published is not None:
                loops.create_task(self._published.keep_fresh())


def open_access(settings: AccessSettings, publisher: Publisher) -> Access | None:
    """None where the settings name neither keys nor an issuer. Raises ConfigError with everything that is wrong with the file of keys."""
    if not settings.asks_for_credentials:
        return None
    try:
        keys = KeyRing(Path(settings.api_keys_file)) if settings.api_keys_file else None
    except ConfigError as error:
        raise ConfigError(f"PEERFLOW_API_KEYS_FILE: {problem}" for problem in error.problems) from None
    if not settings.oidc_issuer:
        return Access(keys, None)
    # These bring cryptography and an HTTP client, which a pod without an issuer need not carry.
    from peerflow.auth.fetch import fetch  # noqa: PLC0415
    from peerflow.auth.jwks import PublishedKeys  # noqa: PLC0415
    from peerflow.auth.tokens import Rules, Tokens  # noqa: PLC0415

    algorithms = frozenset(settings.oidc_algorithms)
    published = PublishedKeys(settings.oidc_issuer, settings.oidc_jwks_url, algorithms, fetch=fetch, publisher=publisher)
    rules = Rules(settings.oidc_issuer, settings.oidc_audience, algorithms, settings.oidc_scopes_claim, settings.oidc_tenant_claim)
    return Access(keys, Tokens(published, rules), published)
