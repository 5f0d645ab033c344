"""The issuer's published keys (RFC 7517): fetched, bounded, kept while the issuer does not answer, fetched again for a key that is new."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from jwt import PyJWK, PyJWTError
from pydantic import JsonValue

from engine.events import Publisher
from peerflow.auth.addresses import is_safe
from peerflow.auth.events import IssuerBack, IssuerLost
from peerflow.auth.fetch import FetchFailed
from peerflow.auth.identity import IssuerUnavailable

Fetch = Callable[[str], Awaitable[dict[str, JsonValue]]]

REFRESH_SECONDS: Final = 600.0
"""A key that the issuer withdraws is believed for so long."""
RETRY_SECONDS: Final = 10.0
"""An issuer that does not answer is asked again after this; and no more often than this for keys that are not known."""
OLDEST_SECONDS: Final = 86_400.0
"""Keys that could not be fetched again for so long are not believed any more."""
MOST_KEYS: Final = 64
DISCOVERY: Final = "/.well-known/openid-configuration"

_FITTING: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""Kind and curve of a key → the algorithms that it may be used with. Symmetric keys have no place in a public document."""
ALGORITHMS: Final = frozenset[str]().union(*_FITTING.values())


class PublishedKeys:
    """The keys of one issuer, by key id and algorithm. Used from the event loop alone."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str,
        algorithms: frozenset[str],
        *,
        fetch: Fetch,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`jwks_url` may be empty: the issuer's discovery document then has it. Nothing is fetched yet."""
        self._issuer, self._jwks_url, self._algorithms = issuer, jwks_url, algorithms
        self._fetch, self._publisher, self._clock = fetch, publisher, clock
        self._keys: dict[tuple[str, str], PyJWK] = {}
        self._content: dict[str, str] = {}
        self._fetched_at: float | None = None
        self._asked_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._lost = False
        self.on_withdrawal: Callable[[], None] | None = None
        """Called when a key that was published is not any more, or is another one."""

    def __len__(self) -> int:
        """How many keys can be used."""
        return len(self._content)

    async def find(self, key_id: str, algorithm: str) -> PyJWK | None:
        """The key; None where the issuer has none of that id for that algorithm. Raises IssuerUnavailable."""
        found = self._fresh(key_id, algorithm)
        # What is being fetched may have it: whoever comes meanwhile waits, and does not ask again.
        if found is None and (self._fetching.locked() or self._may_ask()):
            async with self._fetching:
                found = self._fresh(key_id, algorithm)
                if found is None and self._may_ask():
                    await self._ask()
                    found = self._fresh(key_id, algorithm)
        if found is None and not self._usable():
            raise IssuerUnavailable(f"the keys of {self._issuer} cannot be fetched now")
        return found

    async def keep_fresh(self) -> None:
        """Fetches the keys at once and from time to time, for ever."""
        while True:
            fetched = await self.fetch()
            await asyncio.sleep(REFRESH_SECONDS if fetched else RETRY_SECONDS)

    async def fetch(self) -> bool:
        """Fetches the keys now; False where the issuer does not answer, which is published once."""
        async with self._fetching:
            return await self._ask()

    def _fresh(self, key_id: str, algorithm: str) -> PyJWK | None:
        return self._keys.get((key_id, algorithm)) if self._usable() else None

    def _usable(self) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at <= OLDEST_SECONDS

    def _may_ask(self) -> bool:
        return self._clock() - self._asked_at >= RETRY_SECONDS

    async def _ask(self) -> bool:
        """Fetches the keys and replaces those that are known; an issuer that does not answer is told of once, and changes nothing."""
        self._asked_at = self._clock()
        try:
            document = await self._fetch(await self._address())
            keys, content = usable_keys(document, self._algorithms)
        except FetchFailed as error:
            if not self._lost:
                self._lost = True
                self._publisher.publish(IssuerLost(issuer=self._issuer, reason=str(error)))
            return False
        withdrawn = any(content.get(key_id) != text for key_id, text in self._content.items())
        self._keys, self._content, self._fetched_at = keys, content, self._clock()
        if self._lost:
            self._lost = False
            self._publisher.publish(IssuerBack(issuer=self._issuer, keys=len(content)))
        if withdrawn and self.on_withdrawal is not None:
            self.on_withdrawal()
        return True

    async def _address(self) -> str:
        """Where the keys are. The discovery document must be the issuer's own (OpenID Connect Discovery 1.0 §4.3)."""
        if self._jwks_url:
            return self._jwks_url
        document = await self._fetch(self._issuer.rstrip("/") + DISCOVERY)
        if document.get("issuer") != self._issuer:
            raise FetchFailed(f"the discovery document is of another issuer than {self._issuer}")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not is_safe(address):
            raise FetchFailed("the discovery document has no jwks_uri that is https")
        return address


def usable_keys(document: dict[str, JsonValue], algorithms: frozenset[str]) -> tuple[dict[tuple[str, str], PyJWK], dict[str, str]]:
    """Public signature keys with an id, for each algorithm that they fit; and by id what the document says of them.

    Raises FetchFailed where there is none.
    """
    keys: dict[tuple[str, str], PyJWK] = {}
    content: dict[str, str] = {}
    listed = document.get("keys")
    for item in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        key_id = item.get("kid") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(key_id, str) or key_id in content:
            continue
        for algorithm in _fitting(item) & algorithms:
            try:
                keys[key_id, algorithm] = PyJWK(item, algorithm)
            except PyJWTError:
                continue
            content[key_id] = json.dumps(item, sort_keys=True)
    if not keys:
        raise FetchFailed(f"no key is published for {', '.join(sorted(algorithms))}")
    return keys, content


def _fitting(item: dict[str, JsonValue]) -> frozenset[str]:
    kind, curve, use, algorithm = (item.get(name) for name in ("kty", "crv", "use", "alg"))
    if "d" in item or use not in {None, "sig"} or not isinstance(kind, str):
        return frozenset()
    fitting = _FITTING.get((kind, curve if isinstance(curve, str) else None), frozenset[str]())
    return fitting if algorithm is None else frozenset(fitting & {algorithm} if isinstance(algorithm, str) else ())
