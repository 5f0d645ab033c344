"""What task code prints and logs is heard in all three executors, and what other code prints is not."""

# What tasks print is the subject here.
# ruff: noqa: T201

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from scheduler.context import CURRENT, TaskContext
from scheduler.executor import Executor
from scheduler.registry import Registry
from scheduler.task_lines import Line
from scheduler.task_output import TaskFields, TaskStream, captured
from tests.support import talking_tasks
from tests.support.attempts import an_attempt
from tests.support.waiting import wait_until_async

LOG = logging.getLogger("shop.orders")


@dataclass
class Heard:
    """A `LineSink` that keeps everything."""

    written: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Claim id → stream → all that was written."""
    records: list[tuple[str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str]])
    lines: list[Line] = field(default_factory=list[Line])
    dropped: int = 0

    def write(self, context: TaskContext, stream: str, text: str) -> None:
        streams = self.written.setdefault(context.claim_id, {})
        streams[stream] = streams.get(stream, "") + text

    def log(self, context: TaskContext, text: str, level: str, logger: str) -> None:
        self.records.append((context.claim_id, text, level, logger))

    def receive(self, context: TaskContext, lines: Sequence[Line], dropped: int) -> None:
        del context
        self.dropped += dropped
        self.lines += lines


class Bench:
    def __init__(self) -> None:
        self.heard, self.registry, self.done = Heard(), Registry(), list[str]()
        self.executor = Executor(
            self.registry, "pod", on_done=lambda attempt, _: self.done.append(attempt.claim_id), threads=4, processes=1, lines=self.heard
        )

    async def run(self, function: Any, *, executor: str | None = None) -> str:
        """Runs it to its end, and answers its claim id."""
        attempt = an_attempt(self.registry.register(function, executor=executor).name)
        self.executor.start(attempt)
        await wait_until_async(lambda: attempt.claim_id in self.done, "the end of the attempt", 30)
        return attempt.claim_id


@asynccontextmanager
async def listening() -> AsyncGenerator[Bench]:
    """Not a fixture: pytest puts other streams in place between a fixture and its test."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    with captured(logging.INFO):
        bench = Bench()
        try:
            yield bench
        finally:
            await bench.executor.close()
            root.setLevel(level)


async def test_async_code_and_what_it_starts_is_heard() -> None:
    async with listening() as bench:

        async def work() -> int:
            print("direct")
            await asyncio.create_task(asyncio.to_thread(print, "in a thread of asyncio"))
            print("oops", file=sys.stderr)
            LOG.warning("%d orders", 3)
            LOG.debug("not so much")
            return 1

        claim = await bench.run(work)
        assert bench.heard.written[claim] == {"stdout": "direct\nin a thread of asyncio\n", "stderr": "oops\n"}
        assert bench.heard.records == [(claim, "3 orders", "warning", "shop.orders")]


async def test_attempts_that_run_at_once_are_told_apart() -> None:
    async with listening() as bench:

        def work() -> int:
            for _ in range(200):
                print(threading.get_ident())
            return 1

        async def other() -> int:
            for _ in range(50):
                print("other")
                await asyncio.sleep(0)
            return 1

        claims = await asyncio.gather(bench.run(work), bench.run(other))
        assert len(set(bench.heard.written[claims[0]]["stdout"].split())) == 1
        assert bench.heard.written[claims[1]]["stdout"] == "other\n" * 50


async def test_a_thread_of_the_user_s_own_is_heard_where_it_gets_the_context() -> None:
    async with listening() as bench:

        def work() -> int:
            for target in (partial(print, "lost"), partial(contextvars.copy_context().run, print, "found")):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
            return 1

        claim = await bench.run(work)
        # From Python 3.14 on a thread may inherit the context by itself.
        assert bench.heard.written[claim]["stdout"].removeprefix("lost\n") == "found\n"


async def test_a_traceback_belongs_to_its_record() -> None:
    async with listening() as bench:

        def work() -> int:
            try:
                raise KeyError("x")
            except KeyError:
                LOG.exception("no such order")
            return 1

        await bench.run(work)
        [(_, text, level, _)] = bench.heard.records
        assert text.startswith("no such order\nTraceback")
        assert text.endswith("KeyError: 'x'")
        assert level == "error"


async def test_a_record_that_cannot_be_formatted_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as bench:
        monkeypatch.setattr(logging, "raiseExceptions", False)

        def work() -> int:
            LOG.warning("%d", "no number")
            return 1

        await bench.run(work)
        assert bench.heard.records == []


async def test_a_child_process_is_heard_to_the_last_line_without_an_end() -> None:
    async with listening() as bench:
        await bench.run(talking_tasks.talks, executor="process")
        assert [(line.stream, line.text, line.level, line.logger) for line in bench.heard.lines] == [
            ("stdout", "from the child", None, None),
            ("log", "ctx.log", "info", "peerflow.task"),
            ("log", "plain", "error", "shop.child"),
            ("stderr", "on standard error", None, None),
            ("stdout", "no end", None, None),
        ]


async def test_a_child_that_dies_has_told_what_it_said_a_while_before() -> None:
    async with listening() as bench:
        await bench.run(talking_tasks.says_and_dies, executor="process")
        assert "last words" in [line.text for line in bench.heard.lines]


async def test_a_storm_of_a_child_reaches_the_pod_bounded_and_counted() -> None:
    async with listening() as bench:
        await bench.run(talking_tasks.storms, executor="process")
        assert len(bench.heard.lines) + bench.heard.dropped == talking_tasks.STORM
        assert bench.heard.lines[-1].text == f"line {talking_tasks.STORM - 1}"


async def test_what_nobody_s_task_prints_is_not_heard_and_all_of_it_reaches_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        print("of a task")
        return 1

    async with listening() as bench:
        print("of nobody")
        LOG.error("of nobody")
        claim = await bench.run(work)
    assert bench.heard.written == {claim: {"stdout": "of a task\n"}}
    assert bench.heard.records == []
    assert capsys.readouterr().out == "of nobody\nof a task\n"
    assert not isinstance(sys.stdout, TaskStream)


async def test_with_capture_off_nothing_is_put_before_the_streams() -> None:
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    with captured(None):
        assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before


def test_a_record_made_in_a_task_says_which(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(TaskFields())
    CURRENT.set(TaskContext(run_id="r", task_id="t", attempt=3))
    LOG.warning("in a task")
    LOG.warning("with its own", extra={"task": "mine"})
    logging.getLogger("peerflow").warning("an event of the pod")
    CURRENT.set(None)
    LOG.warning("outside")
    found = [(getattr(r, "run_id", None), getattr(r, "task", None), getattr(r, "attempt", None)) for r in caplog.records]
    assert found == [("r", "t", 3), ("r", "mine", 3), (None, None, None), (None, None, None)]
