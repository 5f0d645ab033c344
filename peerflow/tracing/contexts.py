"""Trace contexts as text: as HTTP headers carry them, and as a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()


def headers_of(span: Span) -> dict[str, str]:
    """`traceparent`, and `tracestate` where there is one; empty for a span that belongs to no trace."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


def text_of(span: Span) -> str:
    """The context as a run keeps it: `traceparent`, a space and `tracestate`; empty for a span that belongs to no trace."""
    headers = headers_of(span)
    return " ".join(headers[name] for name in ("traceparent", "tracestate") if headers.get(name))


def context_of(text: str) -> Context:
    """The context that a run keeps; an empty one for a text that says nothing."""
    traceparent, _, tracestate = text.partition(" ")
    return context_from({"traceparent": traceparent, "tracestate": tracestate})


def context_from(headers: Mapping[str, str]) -> Context:
    """The context that headers carry; an empty one where they carry none."""
    return _W3C.extract(headers, Context())


def trace_id_in(text: str) -> str | None:
    """The trace's id, 32 hex digits, in a context as a run keeps it."""
    parts = text.split("-", 2)
    return parts[1] if len(parts) == 3 else None
