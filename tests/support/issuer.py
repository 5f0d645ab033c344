"""An OIDC provider without a network: it signs tokens, and answers for its two documents."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic import JsonValue

from peerflow.auth.fetch import FetchFailed
from peerflow.auth.jwks import DISCOVERY, PublishedKeys
from peerflow.auth.tokens import Rules, Tokens
from tests.unit.api.conftest import Recorder

ISSUER = "https://login.example.org/realms/main"
AUDIENCE = "peerflow"
JWKS_URL = f"{ISSUER}/keys"
LIFE_SECONDS = 86_400
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

# Made once: an RSA key takes a tenth of a second.
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public(key: PrivateKey, key_id: str, **fields: JsonValue) -> dict[str, JsonValue]:
    """A public key as an issuer publishes it."""
    if isinstance(key, rsa.RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(key.public_key())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = ECAlgorithm.to_jwk(key.public_key())
    else:
        found = OKPAlgorithm.to_jwk(key.public_key())
    return {**cast("dict[str, JsonValue]", json.loads(found)), "kid": key_id, **fields}


@dataclass
class Issuer:
    """`answers` are the documents by address; `down` makes all of them fail; `asked` has the addresses in order."""

    keys: list[dict[str, JsonValue]] = field(default_factory=lambda: [public(RSA_KEY, "rsa"), public(EC_KEY, "ec", use="sig", alg="ES256")])
    down: bool = False
    asked: list[str] = field(default_factory=list[str])
    recorder: Recorder = field(default_factory=Recorder)
    discovery: dict[str, JsonValue] = field(default_factory=lambda: cast("dict[str, JsonValue]", {"issuer": ISSUER, "jwks_uri": JWKS_URL}))
    now: float = 0.0
    """Of the pod's monotonic clock."""
    late: float = 0.0
    """How far the pod's wall clock is ahead of the real one."""

    async def fetch(self, url: str) -> dict[str, JsonValue]:
        self.asked.append(url)
        # Others run meanwhile, as they do while a network is waited for.
        await asyncio.sleep(0)
        if self.down:
            raise FetchFailed(f"{url} does not answer")
        documents: dict[str, dict[str, JsonValue]] = {ISSUER + DISCOVERY: self.discovery, JWKS_URL: {"keys": [*self.keys]}}
        if url not in documents:
            raise FetchFailed(f"{url} answers 404")
        return documents[url]

    def published(self, *algorithms: str, jwks_url: str = JWKS_URL) -> PublishedKeys:
        allowed = frozenset(algorithms or ("RS256", "ES256"))
        return PublishedKeys(ISSUER, jwks_url, allowed, fetch=self.fetch, publisher=self.recorder, clock=lambda: self.now)

    def tokens(self, *algorithms: str, scopes_claim: str = "scope", tenant_claim: str = "") -> Tokens:
        rules = Rules(ISSUER, AUDIENCE, frozenset(algorithms or ("RS256", "ES256")), scopes_claim, tenant_claim)
        return Tokens(self.published(*algorithms), rules, clock=lambda: time.time() + self.late)


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; a claim that is set to None is left out, a span is one from now."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann@example.org", "exp": now + LIFE_SECONDS, "iat": now, "scope": "openid read"}
    said = {**good, **changes}.items()
    return {name: _seconds(value, now) if isinstance(value, timedelta) else value for name, value in said if value is not None}


def _seconds(span: timedelta, now: int) -> int:
    return now + int(span.total_seconds())


def token(
    key: PrivateKey | str = RSA_KEY,
    *,
    algorithm: str = "RS256",
    key_id: str | None = "rsa",
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """A signed token; `changes` are claims."""
    headers = {**({} if key_id is None else {"kid": key_id}), **(header or {})}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)
