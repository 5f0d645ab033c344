"""Attempts are spans of their run's trace, on whichever pods they run; task code joins."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.events import Publishers
from peerflow.tracing.attempts import AttemptSpans
from peerflow.tracing.requests import Creation
from scheduler.context import TaskContext
from scheduler.identity import PodOptions
from scheduler.pod import Pod
from scheduler.registry import Registry
from storage.store import Store
from storage.views import NewRun
from tests.support.bench import Bench
from tests.support.tracing import Kept, attributes, events, parent_id, span_id, trace_id
from tests.support.waiting import wait_until_async


class Traced:
    """Pods with stores of their own that trace into one memory."""

    def __init__(self, bench: Bench, url: str, namespace: str) -> None:
        self.bench, self._url, self._namespace = bench, url, namespace
        self.kept = Kept()
        self.tracer = self.kept.provider.get_tracer("peerflow")
        self._running: list[tuple[Pod, Store]] = []

    async def pod(self, *functions: Any, **options: Any) -> Pod:
        store = await Store.open(self._url, namespace=self._namespace)
        registry = Registry()
        for function in functions:
            registry.register(function)
        spans = AttemptSpans(self.tracer, store.trace_of)
        pod = Pod(store, registry, Publishers(self.bench.published, spans), PodOptions(**options), tracer=spans)
        spans.pod_id = pod.who.pod_id
        self._running.append((pod, store))
        await pod.start()
        await wait_until_async(lambda: pod.readiness().ready or None, "the pod is ready")
        return pod

    async def post(self, tasks: dict[str, Any]) -> str:
        definition = WorkflowDefinition.model_validate({"tasks": tasks})
        creation = Creation(self.tracer, None, len(tasks))
        new = NewRun(definition, compile_definition(definition, functions=None), trace=creation.context)
        run_id = (await self.bench.store.create_run(new)).run_id
        creation.end(run_id)
        return run_id

    async def close(self) -> None:
        for pod, store in self._running:
            await pod.stop()
            await store.close()


@pytest.fixture
async def traced(bench: Bench, server: Any, namespace: str) -> AsyncGenerator[Traced]:
    traced = Traced(bench, server.url, namespace)
    yield traced
    await traced.close()


async def here(ctx: TaskContext) -> str:
    current = trace.get_current_span().get_span_context()
    return json.dumps({"header": ctx.traceparent, "span": f"{current.span_id:016x}"})


def there(ctx: TaskContext) -> str:
    current = trace.get_current_span().get_span_context()
    return json.dumps({"header": ctx.traceparent, "span": f"{current.span_id:016x}"})


async def fails_once(ctx: TaskContext) -> int:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return ctx.attempt


async def test_attempts_on_two_pods_share_the_trace_of_their_run(traced: Traced) -> None:
    first = await traced.pod(here)
    second = await traced.pod(there)
    run_id = await traced.post({"a": {"task": "here"}, "b": {"task": "there", "depends_on": ["a"]}})
    run, _ = await traced.bench.finished(run_id)
    assert run.state == "succeeded"
    await wait_until_async(lambda: len(traced.kept.named("run")) == 1, "the run's span has ended")
    created = traced.kept.one("create run")
    spans = [traced.kept.one("process here"), traced.kept.one("process there")]
    assert {trace_id(span) for span in [*spans, traced.kept.one("run")]} == {trace_id(created)}
    assert {parent_id(span) for span in spans} == {span_id(created)}
    assert [attributes(span)["peerflow.pod_id"] for span in spans] == [first.who.pod_id, second.who.pod_id]
    assert {span.kind for span in spans} == {SpanKind.CONSUMER}
    assert [attributes(span)["peerflow.outcome"] for span in spans] == ["succeeded"] * 2
    assert attributes(traced.kept.one("run"))["peerflow.state"] == "succeeded"


async def test_task_code_runs_within_the_span_of_its_attempt(traced: Traced) -> None:
    await traced.pod(here, there)
    run_id = await traced.post({"a": {"task": "here"}, "b": {"task": "there"}})
    _, tasks = await traced.bench.finished(run_id)
    await wait_until_async(lambda: len(traced.kept.named("run")) == 1, "all spans have ended")
    for task, name in (("a", "process here"), ("b", "process there")):
        span = traced.kept.one(name)
        seen = json.loads(str(tasks[task].result))
        assert seen["span"] == f"{span_id(span):016x}"
        assert seen["header"].startswith(f"00-{trace_id(span):032x}-{span_id(span):016x}-")


async def test_failed_attempt_records_its_exception_and_the_retry(traced: Traced) -> None:
    await traced.pod(fails_once)
    run_id = await traced.post({"a": {"task": "fails_once", "retry": {"max_attempts": 2, "wait": {"initial": 0.01}}}})
    await traced.bench.finished(run_id)
    await wait_until_async(lambda: len(traced.kept.named("process fails_once")) == 2, "both spans have ended")
    failed, succeeded = traced.kept.named("process fails_once")
    assert (attributes(failed)["peerflow.attempt"], attributes(succeeded)["peerflow.attempt"]) == (1, 2)
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed)["error.type"] == "ValueError"
    assert events(failed)["exception"]["exception.message"] == "not yet"
    assert "fails_once" in str(events(failed)["exception"]["exception.stacktrace"])
    assert events(failed)["retry scheduled"]["peerflow.delay_seconds"] >= 0
    assert succeeded.status.status_code is StatusCode.UNSET
    assert trace_id(failed) == trace_id(succeeded)


async def test_stopped_attempt_ends_its_span_without_an_outcome_of_its_own(traced: Traced) -> None:
    async def endless() -> None:
        await wait_until_async(lambda: False, "nothing", 60)

    await traced.pod(endless)
    run_id = await traced.post({"a": {"task": "endless"}})

    async def runs() -> bool:
        return (await traced.bench.task(run_id, "a")).state == "running"

    await wait_until_async(runs, "the task runs")
    await traced.bench.store.cancel(run_id)
    await wait_until_async(lambda: len(traced.kept.named("process endless")) == 1, "the span has ended")
    assert attributes(traced.kept.one("process endless"))["peerflow.outcome"] == "stopped"


async def test_a_run_without_a_trace_gives_each_attempt_a_trace_of_its_own(traced: Traced) -> None:
    await traced.pod(here)
    await traced.bench.run({"tasks": {"a": {"task": "here"}}})
    await wait_until_async(lambda: len(traced.kept.named("process here")) == 1, "the span has ended")
    assert traced.kept.one("process here").parent is None
    assert traced.kept.named("run") == []
