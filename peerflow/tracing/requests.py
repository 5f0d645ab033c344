"""The server span of each request, and within it the creation of a run."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peerflow.tracing.contexts import text_of

UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines."""


class TracedRequests:
    """Wraps the application. A request continues its caller's trace, whose sampling decision it follows."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method: str = scope["method"]
        # Neither query nor headers: they may hold secrets.
        attributes = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]}
        span = self._tracer.start_span(method, propagate.extract(headers), SpanKind.SERVER, attributes)
        answered = _Answered(send, span)
        token = context.attach(trace.set_span_in_context(span))
        try:
            await self._app(scope, receive, answered)
        finally:
            context.detach(token)
            route: Any = scope.get("route")
            path = getattr(route, "path", None)
            if isinstance(path, str):
                span.update_name(f"{method} {path}")
                span.set_attribute("http.route", path)
            span.end()


class _Answered:
    """`send` of one request: notes the answer's status."""

    def __init__(self, send: Send, span: Span) -> None:
        self._send, self._span = send, span

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status: int = message["status"]
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                self._span.set_status(StatusCode.ERROR)
        await self._send(message)


class Creation:
    """A span for storing a run; what the run's attempts go on with. See `peerflow.api.context.RunTrace`."""

    def __init__(self, tracer: Tracer, name: str | None, tasks: int) -> None:
        attributes: dict[str, str | int] = {
            "messaging.system": "peerflow",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "peerflow.tasks": tasks,
        }
        if name is not None:
            attributes["peerflow.run_name"] = name
        self._span = tracer.start_span("create run", kind=SpanKind.PRODUCER, attributes=attributes)
        self.context = text_of(self._span)

    def end(self, run_id: str | None) -> None:
        if run_id is None:
            self._span.set_status(StatusCode.ERROR)
        else:
            self._span.set_attribute("peerflow.run_id", run_id)
        self._span.end()
