"""Task functions that look at the trace they run in, and open spans of their own."""

from __future__ import annotations

import json
import os

from opentelemetry import trace

from peerflow import TaskContext, task


def seen(ctx: TaskContext) -> str:
    """What task code sees: its context's header, and the trace and span that are current."""
    current = trace.get_current_span().get_span_context()
    with trace.get_tracer("user").start_as_current_span("user work", attributes={"user.task": ctx.task_id}):
        pass
    return json.dumps({"header": ctx.traceparent, "trace": f"{current.trace_id:032x}", "span": f"{current.span_id:016x}"})


@task
async def in_loop(ctx: TaskContext) -> str:
    ctx.log.warning("within the trace")
    return seen(ctx)


@task
def in_thread(ctx: TaskContext) -> str:
    return seen(ctx)


@task(executor="process")
def in_process(ctx: TaskContext) -> str:
    return seen(ctx)


@task
def dies_once(ctx: TaskContext) -> str:
    if ctx.attempt == 1:
        os._exit(9)
    return seen(ctx)
