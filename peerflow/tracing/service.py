"""All of a pod's tracing, for `peerflow.service` to wire."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider

from peerflow.tracing.attempts import AttemptSpans
from peerflow.tracing.log_ids import TraceIds
from peerflow.tracing.provider import flush, make_provider
from peerflow.tracing.requests import Creation, TracedRequests


class Tracing:
    """Between its making and `close`, requests, runs and attempts of this process are traced."""

    def __init__(self, version: str, trace_of: Callable[[str], str], provider: TracerProvider | None = None) -> None:
        """`trace_of` answers a run's trace context from its id. Raises ConfigError where the OTEL_* variables ask for what is not there."""
        self._provider, self._ours = (provider, False) if provider is not None else make_provider(version)
        self._tracer = self._provider.get_tracer("peerflow", version)
        self.attempts = AttemptSpans(self._tracer, trace_of)
        self._ids = TraceIds(trace_of)
        self._handlers = list(logging.getLogger().handlers)
        for handler in self._handlers:
            handler.addFilter(self._ids)

    def install(self, app: FastAPI) -> None:
        """Traces the requests of an application that has not started yet."""
        app.add_middleware(TracedRequests, tracer=self._tracer)

    def begin_run(self, name: str | None, tasks: int) -> Creation:
        return Creation(self._tracer, name, tasks)

    def close(self) -> None:
        """Sends the last spans; blocks for a few seconds at most."""
        for handler in self._handlers:
            handler.removeFilter(self._ids)
        self.attempts.close()
        flush(self._provider, last=self._ours)
