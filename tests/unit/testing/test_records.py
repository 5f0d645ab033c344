"""A record is of one moment: whoever reads while the run moves reads again, and gives up on one that never stands still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from engine.definition import WorkflowDefinition
from peerflow.testing.records import TRIES, read_run, read_run_over_http
from storage.graphs import RunGraph
from storage.store import Store
from storage.views import EventView, RunView, TaskView
from tests.support.fake_run import FakeRun
from tests.support.lab import dag


class MovingStore:
    """A run that is claimed and given back `moves` times, each time that its tasks are read."""

    def __init__(self, moves: int) -> None:
        self.run = FakeRun(dag(a=""))
        self.moves = moves

    async def get_graph(self, run_id: str) -> RunGraph:
        assert run_id == self.run.run_id
        return RunGraph(WorkflowDefinition.model_validate(dag(a="")), self.run.graph)

    async def get_events(self, run_id: str, *, after: int, limit: int) -> list[EventView]:
        del run_id
        return self.run.events[after : after + min(limit, 3)]

    async def get_run_and_tasks(self, run_id: str, *, start: int, count: int) -> tuple[RunView, list[TaskView]]:
        del run_id, start, count
        record = self.run.record()
        if self.moves:
            self.moves -= 1
            self.run.claim("a")
            self.run.give_back("a")
        return record.run, list(record.tasks)


async def test_a_run_that_moves_while_it_is_read_is_read_again() -> None:
    store = MovingStore(moves=3)
    record = await read_run(cast(Store, store), store.run.run_id)
    assert [event.seq for event in record.events] == list(range(1, 12))
    assert record == replace(store.run.record(), attempts={})


async def test_a_run_that_moves_each_time_is_not_read() -> None:
    store = MovingStore(moves=TRIES)
    with pytest.raises(TimeoutError, match="moved each of the 20 times"):
        await read_run(cast(Store, store), store.run.run_id)


RUN: dict[str, Any] = {
    "run_id": "R",
    "name": None,
    "status": "running",
    "created_at": "2026-01-01T00:00:00.123Z",
    "started_at": None,
    "finished_at": None,
    "total": 2,
    "counts": {"ready": 2},
    "labels": {},
    "priority": 0,
    "on_failure": "continue",
    "reason": None,
}


class Answers:
    """A pod that answers with one task a page, and with one event more each time as long as `moves` are left."""

    def __init__(self, moves: int) -> None:
        self.moves = moves
        self.events = [self._event(1)]

    @staticmethod
    def _event(seq: int) -> dict[str, Any]:
        return {
            "seq": seq,
            "at": "2026-01-01T00:00:00.999Z",
            "type": "run_created",
            "task": None,
            "attempt": None,
            "pod": None,
            "detail": "x",
        }

    @staticmethod
    def _task(name: str) -> dict[str, Any]:
        empty = dict.fromkeys(["ready_at", "started_at", "finished_at", "pod", "result", "error", "retry_at", "reason"])
        return {
            **empty,
            "id": name,
            "task": "echo",
            "queue": "q",
            "priority": 1,
            "status": "ready",
            "attempts": 2,
            "lost": 1,
            "depends_on": [],
        }

    def get(self, path: str, /, **params: str) -> Any:
        match path.split("/")[1:]:
            case ["runs", "R", "definition"]:
                return {"tasks": {"a": {"task": "echo"}, "b": {"task": "echo"}}}
            case ["workflow_status", "R"]:
                return {**RUN, "tasks": [self._task("a")], "next_cursor": "2"}
            case ["runs", "R", "tasks"]:
                assert params["cursor"] == "2"
                return {"tasks": [self._task("b")], "next_cursor": None}
            case ["runs", "R", "tasks", _]:
                ended = {
                    "attempt": 1,
                    "ended_as": "lost",
                    "started_at": None,
                    "ended_at": "2026-01-01T00:00:01.000Z",
                    "pod": "p",
                    "error": None,
                }
                return {"attempts_log": [ended]}
            case _:
                page = self.events[int(params["after"]) :]
                if not page and self.moves:
                    self.moves -= 1
                    self.events.append(self._event(len(self.events) + 1))
                return {"events": page}


def test_a_run_over_http_is_read_page_by_page_and_again_where_it_moved() -> None:
    record = read_run_over_http(Answers(moves=3).get, "R")
    assert [task.id for task in record.tasks] == ["a", "b"]
    assert [event.seq for event in record.events] == [1, 2, 3, 4]
    assert record.run.created_at_ms % 1000 == 123
    assert [log[0].attempt for log in record.attempts.values()] == [1, 1]
    assert record.run.counts == {"ready": 2}


def test_a_run_over_http_that_moves_each_time_is_not_read() -> None:
    with pytest.raises(TimeoutError, match="run R moved"):
        read_run_over_http(Answers(moves=TRIES + 1).get, "R")
