"""Tokens of an OIDC provider (RFC 7519, RFC 8725, RFC 9068): verified once, then known until they expire."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import jwt

from peerflow.auth.identity import DEFAULT_TENANT, Identity, Refused, Scope, is_tenant, tenant_of
from peerflow.auth.jwks import PublishedKeys
from peerflow.auth.key_ring import UNKNOWN

LONGEST_CHARS: Final = 8192
"""Longer ones are refused before anything of them is decoded."""
LEEWAY_SECONDS: Final = 30.0
"""How far the issuer's clock and this pod's may be apart."""
MOST_KNOWN: Final = 4096
"""Verified tokens that are kept: about 2 MB."""
LONGEST_SUBJECT: Final = 256
SCOPE_PREFIX: Final = "peerflow:"
"""`peerflow:read` means the same as `read`, for issuers whose scopes need a name that is theirs alone."""
_TYPES: Final = frozenset({None, "jwt", "at+jwt", "application/at+jwt"})
_NEVER: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})
"""Header fields that would choose the key, or change what the token means."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must say, and where it says what its holder may do."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    scopes_claim: str
    tenant_claim: str
    """Empty: all tokens belong to the tenant `default`."""


class Tokens:
    """Verifies tokens. Used from the event loop alone."""

    def __init__(self, keys: PublishedKeys, rules: Rules, *, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._rules, self._clock = keys, rules, clock
        self._algorithms = sorted(rules.algorithms)
        # By SHA-256, so that no token lies in memory; only what a signature has proved gets in, so that nobody can fill it.
        self._known: OrderedDict[bytes, Identity] = OrderedDict()
        keys.on_withdrawal = self._known.clear

    def __len__(self) -> int:
        """How many verified tokens are kept."""
        return len(self._known)

    async def identify(self, token: str) -> Identity:
        """Whose token it is. Raises Refused, and IssuerUnavailable where that cannot be told."""
        if len(token) > LONGEST_CHARS:
            raise Refused(UNKNOWN)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None:
            self._known.move_to_end(digest)
            return self._in_time(known)
        identity = await self._verified(token)
        self._known[digest] = identity
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return self._in_time(identity)

    def _in_time(self, identity: Identity) -> Identity:
        if identity.expires_at is not None and identity.expires_at <= self._clock() - LEEWAY_SECONDS:
            raise Refused("the token has expired")
        return identity

    async def _verified(self, token: str) -> Identity:
        key_id, algorithm = self._header(token)
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise Refused(UNKNOWN)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise Refused("the token has expired") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError, jwt.ImmatureSignatureError, jwt.MissingRequiredClaimError) as error:
            # The signature is right by now: the issuer gave this token to its holder, for something else.
            raise Refused(f"the token is not for this service, or not yet: {str(error)[:100]}") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Refused(UNKNOWN) from None
        return self._identity(claims)

    def _header(self, token: str) -> tuple[str, str]:
        """Key id and algorithm. They only choose among published keys and allowed algorithms."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Refused(UNKNOWN) from None
        key_id, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
        plain = isinstance(kind, str | None) and (kind.lower() if kind else kind) in _TYPES
        if not isinstance(key_id, str) or algorithm not in self._rules.algorithms or not plain or _NEVER & header.keys():
            raise Refused(UNKNOWN)
        return key_id, algorithm

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 1 <= len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
            raise Refused(f"the token's sub must be 1 to {LONGEST_SUBJECT} printable characters")
        named = DEFAULT_TENANT
        if self._rules.tenant_claim:
            named = claim(claims, self._rules.tenant_claim)
            if not isinstance(named, str) or not is_tenant(named):
                raise Refused(f"the token's claim {self._rules.tenant_claim!r} names no tenant")
        tenant, everywhere = tenant_of(named)
        return Identity(subject, tenant, scopes_of(claim(claims, self._rules.scopes_claim)), everywhere, float(claims["exp"]))


def scopes_of(value: object) -> frozenset[Scope]:
    """The scopes in a claim: words in one text (RFC 8693 §4.2) or a list of them. Words of others mean nothing here."""
    words = value.split() if isinstance(value, str) else cast("list[object]", value) if isinstance(value, list) else []
    names = {word.removeprefix(SCOPE_PREFIX) for word in words if isinstance(word, str)}
    return frozenset(scope for scope in Scope if scope.value in names)


def claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, or by the names on the way to it: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = cast("dict[str, object]", found).get(part) if isinstance(found, dict) else None
    return found
