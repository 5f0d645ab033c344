"""Settings that say who may call the API, and how much."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class AccessSettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""
