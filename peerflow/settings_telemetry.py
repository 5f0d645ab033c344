"""Settings that say what pods tell of themselves: metrics, traces, logs of tasks."""

from __future__ import annotations

from pydantic_settings import BaseSettings

from peerflow.settings_fields import setting


class TelemetrySettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""

    metrics: bool = setting(True, "counts what the pod does, and answers GET /metrics", "true or false")  # noqa: FBT003
    traces: bool = setting(False, "sends OpenTelemetry traces as the OTEL_* variables say; needs the extra `otel`", "true or false")  # noqa: FBT003
