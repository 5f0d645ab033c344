"""Where spans go: what the OTEL_* variables say, or what the process has already."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from engine.errors import ConfigError

FLUSH_SECONDS: Final = 3.0
"""How long the end of a process waits for the last spans to arrive."""
EXPORTERS: Final = frozenset({"otlp", "none"})
PROTOCOLS: Final = frozenset({"http/protobuf"})


def make_provider(version: str, *, delay_ms: float | None = None) -> tuple[TracerProvider, bool]:
    """The process's tracer provider: the one that is there already, or a new one, which is then the process's (True).

    Spans are sent in batches by a thread of their own, at the latest `delay_ms` after their end (None: OTEL_BSP_SCHEDULE_DELAY, else 5 s).
    Raises ConfigError for variables that ask for what is not there.
    """
    there = trace.get_tracer_provider()
    if isinstance(there, TracerProvider):
        return there, False
    _check()
    attributes: dict[str, str] = {SERVICE_VERSION: version, SERVICE_INSTANCE_ID: str(uuid.uuid4())}
    # Given ones would win over the variables.
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes[SERVICE_NAME] = "peerflow"
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    if _exporter() == "otlp":
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay_ms))
    trace.set_tracer_provider(provider)
    return provider, True


def flush(provider: TracerProvider, seconds: float = FLUSH_SECONDS, *, last: bool) -> bool:
    """Sends what has not been sent; `last`: and ends. Blocks, never for longer than `seconds`; True where it has come to its end."""
    # In a thread: an exporter that waits for a silent receiver heeds no limit but its own.
    thread = threading.Thread(target=provider.shutdown if last else provider.force_flush, name="peerflow-traces-end", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _exporter() -> str:
    return os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"


def _check() -> None:
    problems: list[str] = []
    if _exporter() not in EXPORTERS:
        problems.append(f"OTEL_TRACES_EXPORTER ({_exporter()}) must be otlp or none")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name, "").strip()
        if protocol and protocol not in PROTOCOLS:
            problems.append(f"{name} ({protocol}) must be http/protobuf; a collector takes it on port 4318")
    if problems:
        raise ConfigError(problems)
