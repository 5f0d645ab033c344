"""OpenTelemetry traces: a request, the run that it creates, and each attempt of that run.

Imported only where PEERFLOW_TRACES is on; needs the extra `otel`. Everything else is said by the standard OTEL_* variables.
"""

from __future__ import annotations

from importlib.util import find_spec

from engine.errors import ConfigError

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def check_installed() -> None:
    """Raises ConfigError where the extra is not installed."""
    for module in NEEDED:
        try:
            found = find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ConfigError(["PEERFLOW_TRACES (true) needs the extra otel, which is not installed: pip install 'peerflow[otel]'"])
