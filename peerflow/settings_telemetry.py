"""Settings that say what pods tell of themselves: metrics, traces, logs of tasks."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic_settings import BaseSettings

from peerflow.settings_fields import setting


class TelemetrySettings(BaseSettings):
    """A group of `peerflow.settings.Settings`."""

    metrics: bool = setting(True, "counts what the pod does, and answers GET /metrics", "true or false")  # noqa: FBT003
    traces: bool = setting(False, "sends OpenTelemetry traces as the OTEL_* variables say; needs the extra `otel`", "true or false")  # noqa: FBT003
    task_log_level: Literal["debug", "info", "warning", "error", "off"] = setting(
        "info",
        "the least important record of ctx.log and logging that a task's log keeps; off keeps nothing, not even what tasks print",
        "debug, info, warning, error or off",
    )
    task_log_lines: int = setting(5_000, "lines that are kept of an attempt, the newest", "a number from 1 to 100000", ge=1, le=100_000)
    task_log_bytes: int = setting(
        1_048_576, "bytes that are kept of an attempt's lines", "a number of bytes from 65536 to 67108864", ge=65_536, le=67_108_864
    )
    task_log_run_bytes: int = setting(
        67_108_864,
        "bytes that are kept of all lines of a run; at least those of an attempt",
        "a number of bytes from 65536 to 68719476736",
        ge=65_536,
        le=68_719_476_736,
    )

    @property
    def task_log_number(self) -> int | None:
        """The level as `logging` counts it; None for off."""
        return None if self.task_log_level == "off" else logging.getLevelNamesMapping()[self.task_log_level.upper()]
