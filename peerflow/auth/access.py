"""All credentials that a pod knows, put together from its settings."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigError
from engine.events import LoopFailed, Publisher
from peerflow.auth.api_key import START
from peerflow.auth.identity import Identity, Refused
from peerflow.auth.key_ring import UNKNOWN, KeyRing
from peerflow.settings_access import AccessSettings

if TYPE_CHECKING:
    from peerflow.auth.jwks import PublishedKeys
    from peerflow.auth.tokens import Tokens

AGAIN_SECONDS: Final = 5.0
"""Before a loop that failed is started again."""


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
                keys = self._keys
                loops.create_task(_keep_running("KeyRing", lambda: keys.watch(publisher), publisher))
            if self._published is not None:
                loops.create_task(_keep_running("PublishedKeys", self._published.keep_fresh, publisher))


async def _keep_running(name: str, loop: Callable[[], Awaitable[None]], publisher: Publisher) -> None:
    """Starts a loop again that raised what it should not have: a pod that follows no changes any more would look like one that does."""
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001  # whatever it is, the keys that are known stay in force
            trace = "".join(traceback.format_exception(error))
            publisher.publish(LoopFailed(pod_id="", loop=name, error=repr(error), traceback=trace))
        await asyncio.sleep(AGAIN_SECONDS)


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
