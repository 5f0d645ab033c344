"""Log lines name the trace that they belong to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import format_trace_id

from engine.ids import is_run_id
from peerflow.tracing.contexts import trace_id_in


class TraceIds(logging.Filter):
    """Adds `trace_id` to each record that is written within a span, or names a run with a trace. Lets everything pass."""

    def __init__(self, trace_of: Callable[[str], str]) -> None:
        super().__init__()
        self._trace_of = trace_of

    def filter(self, record: logging.LogRecord) -> bool:
        span = trace.get_current_span().get_span_context()
        fields: dict[str, Any] = record.__dict__
        if span.is_valid:
            fields.setdefault("trace_id", format_trace_id(span.trace_id))
            return True
        run_id = fields.get("run_id")
        if isinstance(run_id, str) and is_run_id(run_id):
            fields.setdefault("trace_id", trace_id_in(self._trace_of(run_id)))
        return True
