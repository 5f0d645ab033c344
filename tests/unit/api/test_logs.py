"""`GET /runs/{run_id}/logs` by pages and as Server-Sent Events: what is asked for, what is refused, who is dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.states import RunState
from peerflow.api import followers
from peerflow.api.log_models import LogPage
from peerflow.api.server_sent import EventStream, Told
from storage.task_logs import body_of, encode_line
from storage.views import NewRun
from tests.support.canned_store import CREATED_AT_MS, RUN_ID, CannedStore
from tests.support.waiting import wait_until_async
from tests.unit.api.conftest import Pod

LOGS = f"/runs/{RUN_ID}/logs"


def put_run(store: CannedStore) -> None:
    definition = WorkflowDefinition.model_validate({"tasks": {"a": {"task": "task_a"}, "b": {"task": "task_b"}}})
    store.put(NewRun(definition, compile_definition(definition)))


def say(store: CannedStore, *texts: str, index: int = 0, attempt: int = 1, age_ms: int = 0, dropped: int = 0) -> None:
    store.say(index, attempt, CREATED_AT_MS + 5_000, dropped, body_of([encode_line(age_ms, "stdout", text, None, None) for text in texts]))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(followers, "LATE_SECONDS", 0.05)
    monkeypatch.setattr("peerflow.api.logs.LOOK_SECONDS", 0.01)


async def test_lines_are_told_by_time_with_what_belongs_to_them(pod: Pod) -> None:
    put_run(pod.store)
    say(pod.store, "second", age_ms=10)
    say(pod.store, "first", index=1, attempt=2, age_ms=2_000, dropped=7)
    answer = await pod.get(LOGS)
    LogPage.model_validate(answer)
    assert [(line["task"], line["attempt"], line["stream"], line["text"]) for line in answer["lines"]] == [
        ("b", 2, "peerflow", "7 lines dropped here: they came faster than they can be kept"),
        ("b", 2, "stdout", "first"),
        ("a", 1, "stdout", "second"),
    ]
    assert answer["lines"][1]["at"] == "2026-01-01T00:00:03.000Z"
    assert (answer["next_after"], answer["last"], answer["dropped"]) == (None, "2-1", 0)


async def test_control_characters_are_escaped_and_kept(pod: Pod) -> None:
    put_run(pod.store)
    say(pod.store, "\x1b[31mred\x00\u2028")
    assert (await pod.get(LOGS))["lines"][0]["text"] == "\x1b[31mred\x00\u2028"
    assert b"\x1b" not in (await pod.client.get(LOGS)).content


async def test_filters_and_pages_reach_the_store(pod: Pod) -> None:
    put_run(pod.store)
    say(pod.store, "one", "two", "three")
    say(pod.store, "other", index=1)
    first = await pod.get(f"{LOGS}?limit=2")
    assert [line["id"] for line in first["lines"]] == ["1-1", "1-2"]
    rest = await pod.get(f"{LOGS}?after={first['next_after']}")
    assert [line["text"] for line in rest["lines"]] == ["three", "other"]
    assert [line["text"] for line in (await pod.get(f"{LOGS}?task=b&attempt=1"))["lines"]] == ["other"]


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("attempt=1", 400, "query/attempt"),
        ("task=a&attempt=0", 400, "query/attempt"),
        ("after=x", 400, "query/after"),
        ("after=1767225600000", 400, "query/after"),
        ("follow=maybe", 400, "query/follow"),
        ("tail=1", 400, "query/tail"),
        ("task=nope", 404, "query/task"),
        ("task=%2e%2e%2f&follow=true", 404, "query/task"),
    ],
)
async def test_what_makes_no_sense_is_refused(pod: Pod, query: str, status: int, pointer: str) -> None:
    put_run(pod.store)
    problem = await pod.refused("GET", f"{LOGS}?{query}", status)
    assert problem.errors[0].pointer == pointer


async def test_a_run_that_is_not_there_has_no_log(pod: Pod) -> None:
    await pod.refused("GET", LOGS, 404)
    await pod.refused("GET", f"{LOGS}?follow=true", 404)


class Listener:
    """A client of an event stream that stands on the other side of ASGI."""

    def __init__(self, pod: Pod, path: str, **headers: str) -> None:
        self.pod, self.path, self.headers = pod, path, headers
        self.body = b""
        self.status = 0
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        path, _, query = self.path.partition("?")
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await self.reads.wait()
            self.status = message.get("status", self.status)
            self.body += message.get("body", b"")

        headers = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in self.headers.items()]
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": headers, "scheme": "http", "server": ("pod", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await self.pod.app(scope, receive, send)

    def events(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for block in self.body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "event" in fields:
                found.append((fields["event"], json.loads(fields["data"])))
        return found

    def texts(self) -> list[str]:
        return [data["text"] for kind, data in self.events() if kind == "line"]

    async def leave(self) -> None:
        self.left.set()
        await self.task


async def test_a_follower_hears_what_is_there_and_what_comes_to_the_end_of_the_run(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    say(pod.store, "old")
    listener = Listener(pod, f"{LOGS}?follow=true")
    await wait_until_async(lambda: listener.texts() == ["old"], "the old line")
    say(pod.store, "new")
    say(pod.store, "of b", index=1)
    await wait_until_async(lambda: listener.texts() == ["old", "new", "of b"], "the new lines")
    pod.store.end_run(RunState.FAILED)
    await asyncio.sleep(0)
    say(pod.store, "late")
    await asyncio.wait_for(listener.task, 10)
    assert listener.texts() == ["old", "new", "of b", "late"]
    assert listener.events()[-1] == ("end", {"run_id": RUN_ID, "status": "failed"})
    assert not pod.app.state.api.followers._count
    assert not pod.app.state.api.followers._tails


async def test_a_client_that_comes_back_hears_the_rest_and_nothing_twice(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    say(pod.store, "one", "two", "three")
    pod.store.end_run(RunState.SUCCEEDED)
    listener = Listener(pod, f"{LOGS}?follow=true&after=1-1", Last_Event_ID="1-2")
    await asyncio.wait_for(listener.task, 10)
    assert listener.texts() == ["three"]


async def test_a_follower_of_one_attempt_hears_no_other(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    listener = Listener(pod, f"{LOGS}?follow=true&task=b&attempt=2")
    await wait_until_async(lambda: listener.body, "the beginning of the answer")
    for index, attempt in ((0, 2), (1, 1), (1, 2)):
        say(pod.store, f"{index} {attempt}", index=index, attempt=attempt)
    pod.store.end_run(RunState.SUCCEEDED)
    await asyncio.wait_for(listener.task, 10)
    assert listener.texts() == ["1 2"]


async def test_all_followers_of_a_run_share_one_reader(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    listeners = [Listener(pod, f"{LOGS}?follow=true") for _ in range(20)]
    await wait_until_async(lambda: all(listener.body for listener in listeners), "all answers have begun")
    await wait_until_async(lambda: pod.app.state.api.followers._tails, "the reader")
    pages = pod.store.calls.count("get_log")
    say(pod.store, "news")
    await wait_until_async(lambda: all(listener.texts() == ["news"] for listener in listeners), "everybody has heard it")
    assert pod.store.calls.count("get_log") == pages == 20
    assert len(pod.app.state.api.followers._tails) == 1
    for listener in listeners:
        await listener.leave()
    assert not pod.app.state.api.followers._tails


async def test_a_client_that_falls_behind_what_the_reader_keeps_still_hears_everything(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    listener, other = Listener(pod, f"{LOGS}?follow=true"), Listener(pod, f"{LOGS}?follow=true")
    await wait_until_async(lambda: listener.body and other.body and pod.app.state.api.followers._tails, "both follow")
    listener.reads.clear()
    for number in range(followers.KEPT_PIECES * 3):
        say(pod.store, f"{number}")
    await wait_until_async(lambda: len(other.texts()) == followers.KEPT_PIECES * 3, "the other has heard all")
    listener.reads.set()
    pod.store.end_run(RunState.SUCCEEDED)
    await asyncio.wait_for(listener.task, 10)
    assert listener.texts() == [f"{number}" for number in range(followers.KEPT_PIECES * 3)]


async def test_a_reader_that_takes_nothing_is_dropped(pod: Pod, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.api.server_sent.SEND_SECONDS", 0.1)
    put_run(pod.store)
    say(pod.store, "x")
    listener = Listener(pod, f"{LOGS}?follow=true")
    listener.reads.clear()
    await asyncio.wait_for(listener.task, 10)
    assert not pod.app.state.api.followers._count


async def test_more_followers_than_a_pod_takes_are_refused_and_may_come_when_one_has_left(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    pod.app.state.api.followers._most = 1
    listener = Listener(pod, f"{LOGS}?follow=true")
    await wait_until_async(lambda: listener.body, "the first follows")
    problem = await pod.refused("GET", f"{LOGS}?follow=true", 503)
    assert problem.type == "urn:peerflow:problem:busy"
    await listener.leave()
    again = Listener(pod, f"{LOGS}?follow=true")
    await wait_until_async(lambda: again.body, "another follows")
    await again.leave()


async def test_a_pod_that_leaves_ends_its_answers_without_saying_that_the_run_has_ended(pod: Pod, quick: None) -> None:
    put_run(pod.store)
    listener = Listener(pod, f"{LOGS}?follow=true")
    await wait_until_async(lambda: listener.body, "it follows")
    pod.app.state.api.followers.close()
    await asyncio.wait_for(listener.task, 10)
    assert listener.events() == []


async def stream_of(events: AsyncGenerator[list[Told]]) -> bytes:
    body, ends = b"", list[str]()
    waiting = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await waiting.wait()
        return {}

    async def send(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")

    await EventStream(events, on_end=lambda: ends.append("end"))({}, receive, send)
    assert ends == ["end"]
    return body


async def test_a_heartbeat_passes_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.api.server_sent.HEARTBEAT_SECONDS", 0.0)

    async def events() -> AsyncGenerator[list[Told]]:
        yield [Told("line", {"text": "a\nb"}, "1-1")]
        yield []

    assert await stream_of(events()) == b'retry: 1000\n\nid: 1-1\nevent: line\ndata: {"text":"a\\nb"}\n\n: still here\n\n'


async def test_an_answer_ends_after_its_longest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerflow.api.server_sent.LONGEST_SECONDS", 0.05)
    closed: list[str] = []

    async def events() -> AsyncGenerator[list[Told]]:
        try:
            while True:
                yield []
                await asyncio.sleep(0.01)
        finally:
            closed.append("closed")

    assert await stream_of(events()) == b"retry: 1000\n\n"
    assert closed == ["closed"]


async def test_head_of_a_log_that_is_followed_is_answered_at_once_and_holds_no_place(pod: Pod, quick: None) -> None:
    del quick
    put_run(pod.store)
    say(pod.store, "a line")
    async with asyncio.timeout(10):
        answer = await pod.client.head(f"{LOGS}?follow=true")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream; charset=utf-8", b"")
    held: followers.Followers = pod.app.state.api.followers
    await wait_until_async(lambda: held._count == 0, "the place is free")  # pyright: ignore[reportPrivateUsage]
