"""Settings that say what pods tell of themselves: metrics, traces, logs of tasks."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""
