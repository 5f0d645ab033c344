"""A span for each attempt, from its start on a pod to the end of its code; what came of it are its attributes and events.

A consumer's span in the words of OpenTelemetry's messaging conventions, and a child of the run's creation, so that a run is one trace,
on whichever pods its attempts run.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from engine.events import CommitRefused, Event, LeaseLost, RetryScheduled, RunFinished
from engine.ids import created_ms
from engine.outcome import Failed, Outcome, Sleeping
from engine.states import RunState
from peerflow.tracing.contexts import context_of, headers_of
from scheduler.attempt import Attempt
from scheduler.tracing import Entry

KEPT: Final = 10_000
"""Spans of attempts that have ended and wait for what comes of their commits; more end without that."""


Key = tuple[str, str, int]
"""Run, task and number of an attempt."""


class _Ended(NamedTuple):
    span: Span
    at_ns: int
    """When its code ended."""
    key: Key


class AttemptSpans:
    """See `scheduler.tracing.AttemptTracer`; also a subscriber of events."""

    child_modules: tuple[str, ...] = ("peerflow.tracing.child",)

    def __init__(self, tracer: Tracer, trace_of: Callable[[str], str]) -> None:
        """`trace_of` answers a run's trace context from its id, as storage keeps it."""
        self._tracer, self._trace_of = tracer, trace_of
        self.pod_id = ""
        """On every span, once the pod has one."""
        self._running: dict[str, Span] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        """By claim id."""
        self._claims: dict[Key, str] = {}
        """Of the attempts in `_ended`: events name an attempt by its number."""

    def begin(self, attempt: Attempt) -> Entry:
        attributes: dict[str, str | int] = {
            "messaging.system": "peerflow",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": attempt.function,
            "peerflow.run_id": attempt.run_id,
            "peerflow.task": attempt.task_id,
            "peerflow.function": attempt.function,
            "peerflow.attempt": attempt.attempt,
            "peerflow.lost": attempt.lost,
            "peerflow.claim_id": attempt.claim_id,
            "peerflow.pod_id": self.pod_id,
        }
        span = self._tracer.start_span(f"process {attempt.function}", context_of(attempt.trace), SpanKind.CONSUMER, attributes)
        if attempt.lost:
            span.add_event("taken over", {"peerflow.lost": attempt.lost})
        self._running[attempt.claim_id] = span
        current = trace.set_span_in_context(span)
        return Entry(headers_of(span), lambda: context.attach(current))

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        span = self._running.pop(attempt.claim_id, None)
        if span is None:
            return
        match outcome:
            case Failed(error):
                span.set_attribute("peerflow.outcome", "failed")
                span.set_attribute("error.type", error.type)
                stack = {"exception.stacktrace": error.traceback} if error.traceback else {}
                span.add_event("exception", {"exception.type": error.type, "exception.message": error.message, **stack})
                span.set_status(StatusCode.ERROR, f"{error.type}: {error.message}")
            case Sleeping():
                span.set_attribute("peerflow.outcome", "sleeping")
            case _:
                span.set_attribute("peerflow.outcome", "succeeded")
        self._keep(attempt, span)

    def settled(self, claim_id: str) -> None:
        ended = self._ended.pop(claim_id, None)
        if ended is not None:
            self._claims.pop(ended.key, None)
            ended.span.end(ended.at_ns)

    def stopped(self, attempt: Attempt) -> None:
        span = self._running.pop(attempt.claim_id, None)
        if span is None:
            return
        span.set_attribute("peerflow.outcome", "stopped")
        self._keep(attempt, span)
        # After those who stopped it have said why.
        asyncio.get_running_loop().call_soon(self.settled, attempt.claim_id)

    def publish(self, event: Event, /) -> None:
        """Takes what belongs to an attempt whose code has ended, and the end of runs."""
        match event:
            case RetryScheduled():
                self._note(event.run_id, event.task_id, event.attempt, "retry scheduled", {"peerflow.delay_seconds": event.delay_seconds})
            case CommitRefused():
                self._note(event.run_id, event.task_id, event.attempt, "commit refused", {"peerflow.current": event.current})
            case LeaseLost():
                self._note(event.run_id, event.task_id, event.attempt, "lease lost", {})
            case RunFinished():
                self._run_finished(event)
            case _:
                return

    def close(self) -> None:
        """Ends what has not ended."""
        for span in self._running.values():
            span.end()
        self._running.clear()
        for claim_id in list(self._ended):
            self.settled(claim_id)

    def _keep(self, attempt: Attempt, span: Span) -> None:
        key = (attempt.run_id, attempt.task_id, attempt.attempt)
        self._ended[attempt.claim_id] = _Ended(span, time.time_ns(), key)
        self._claims[key] = attempt.claim_id
        while len(self._ended) > KEPT:
            self.settled(next(iter(self._ended)))

    def _note(self, run_id: str, task_id: str, attempt: int, name: str, attributes: dict[str, str | float]) -> None:
        ended = self._ended.get(self._claims.get((run_id, task_id, attempt), ""))
        if ended is not None:
            ended.span.add_event(name, attributes)

    def _run_finished(self, event: RunFinished) -> None:
        text = self._trace_of(event.run_id)
        if not text:
            return
        span = self._tracer.start_span(
            "run",
            context_of(text),
            SpanKind.INTERNAL,
            {"peerflow.run_id": event.run_id, "peerflow.state": event.state.value},
            start_time=created_ms(event.run_id) * 1_000_000,
        )
        if event.state is RunState.FAILED:
            span.set_status(StatusCode.ERROR)
        span.end()
