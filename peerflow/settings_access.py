"""Settings that say who may call the API, and how much."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import BaseSettings

from peerflow.auth.addresses import is_safe
from peerflow.settings_fields import setting, split

_HTTPS: Final = "an https:// URL; http:// only to this machine"
_CLAIM: Final = "the name of a claim, or names with dots between them"
_CLAIM_PATTERN: Final = r"^[!-~]{0,128}$"

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones alone: with a shared secret, whoever verifies tokens could make them."""
Algorithms = Annotated[tuple[Algorithm, ...], BeforeValidator(split)]


def _check_url(url: str) -> str:
    if url and not is_safe(url):
        raise ValueError("not a URL that can be trusted")
    return url


Url = Annotated[str, AfterValidator(_check_url)]


class AccessSettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""

    api_keys_file: str = setting("", "file with the SHA-256 of API keys; read again when it changes", "a path")
    oidc_issuer: Url = setting("", "OIDC provider whose tokens are taken; compared with `iss` character by character", _HTTPS)
    oidc_audience: str = setting("", "what the tokens' `aud` must have", "1 to 256 printable characters", pattern=r"^[!-~]{0,256}$")
    oidc_jwks_url: Url = setting("", "where the provider publishes its keys; without one its discovery document tells", _HTTPS)
    oidc_algorithms: Algorithms = setting(
        ("RS256", "ES256"),
        "algorithms with which tokens may be signed",
        "some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, separated by commas",
        min_length=1,
    )
    oidc_scopes_claim: str = setting("scope", "claim with the scopes", _CLAIM, pattern=_CLAIM_PATTERN, min_length=1)
    oidc_tenant_claim: str = setting(
        "", "claim with the tenant; without one all tokens belong to the tenant default", _CLAIM, pattern=_CLAIM_PATTERN
    )

    @property
    def asks_for_credentials(self) -> bool:
        return bool(self.api_keys_file or self.oidc_issuer)

    def access_problems(self) -> list[str]:
        """What does not go together."""
        if self.oidc_issuer and not self.oidc_audience:
            return [
                f"PEERFLOW_OIDC_ISSUER ({self.oidc_issuer}) needs PEERFLOW_OIDC_AUDIENCE: tokens for other services are not for this one"
            ]
        if not self.oidc_issuer:
            names = [name for name in ("audience", "jwks_url", "tenant_claim") if getattr(self, f"oidc_{name}")]
            return [f"PEERFLOW_OIDC_{name.upper()} does nothing without PEERFLOW_OIDC_ISSUER; set both" for name in names]
        return []

    access_entries: int = setting(
        10_000, "how many entries of who did what each partition keeps, about", "a number from 100 to 1000000", ge=100, le=1_000_000
    )
    rate_limit_per_second: float = setting(
        0.0, "requests of one caller a second, over all pods together; 0 is no limit", "a number from 0 to 1000000", ge=0, le=1e6
    )
    rate_limit_burst: int = setting(
        50, "requests that a caller who was quiet may send at once, before the rate holds", "a number from 1 to 1000000", ge=1, le=1_000_000
    )
    hsts_seconds: int = setting(
        0,
        "TLS is in front: browsers are told to use nothing else for so long (`Strict-Transport-Security`); 0 says nothing",
        "a number of seconds from 0 to 63072000",
        ge=0,
        le=63_072_000,
    )
