"""Settings that say who may call the API, and how much."""

from __future__ import annotations

from pydantic_settings import BaseSettings

from peerflow.settings_fields import setting


class AccessSettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""

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
