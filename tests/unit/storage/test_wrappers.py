"""The Python side of each script: it passes what the header says, and understands what the script answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.compile import compile_definition
from engine.definition import WorkflowDefinition
from engine.errors import IdempotencyConflict, RunAlreadyFinished, RunNotFound, StorageCorrupt, StorageUnavailable
from storage.audits import Repaired, Restored
from storage.graphs import GraphCache, RunGraph
from storage.heartbeats import REFS_PER_CALL, HeartbeatConnection
from storage.keys import Keys
from storage.partition import Ended, Identity, Partition
from storage.scripts import LUA, NAMES, digest
from storage.store import Store
from storage.views import NewRun
from tests.support.lua_source import arguments_of, read

SCRIPTS = {digest(name): name for name in NAMES}
WHO = Identity("p1", "digest", 10_000)
REF = "00000000000000000000000000000100 01890000-0000-7000-8000-000000000001 3 - 0 default/task_a"
RUN = "01890000-0000-7000-8000-000000000001"
DEFINITION = WorkflowDefinition.model_validate({"tasks": {"a": {"task": "echo"}, "b": {"task": "echo", "depends_on": ["a"]}}})
GRAPH = RunGraph(DEFINITION, compile_definition(DEFINITION))


class Server:
    """Answers each script with what it was given for it, and keeps what was asked."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def _answer(self, sha: str, numkeys: int, prefix: str, *args: Any) -> list[Any]:
        assert (numkeys, prefix) == (1, "{pf:0}:")
        self.asked.append((SCRIPTS[sha], args))
        return self.answers[SCRIPTS[sha]]

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        async def later() -> list[Any]:
            return self._answer(sha, numkeys, *keys_and_args)

        return later()


class BlockingServer(Server):
    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        return self._answer(sha, numkeys, *keys_and_args)


def partition(server: Server) -> Partition:
    client: Any = server
    return Partition(client, client, Keys("pf", 0), "address", GraphCache())


CALLS: dict[str, tuple[list[Any], Callable[[Partition], Awaitable[object]], int]] = {
    "claim": (["OK", [], [], 0], lambda partition: partition.claim("op", WHO, 3), 0),
    "commit": (
        ["OK", ["OK", "STALE"], [], 0, []],
        lambda partition: partition.commit("op", WHO, [Ended("a", "failed", "{}"), Ended("b", "retry", "{}")], 3),
        14,
    ),
    "pass_on": (["OK", 0], lambda partition: partition.pass_on("run", "0", 250, 500, "1 1 - 0 default/task_a"), 0),
    "sweep": (["OK", 2], lambda partition: partition.sweep("run", 250, None, "1 - default/task_a"), 0),
    "fire_timers": (["OK", [], -1, 0], lambda partition: partition.fire_timers(), 0),
    "audit": (["OK", [], -1, 0], lambda partition: partition.audit(30_000, 600_000, 100, 0, 86_400_000), 0),
    "restore": (["OK", "rp", [], 3, [], [1, 0, 0, 0, 0, 0, 0]], lambda partition: partition.restore("run", GRAPH, 0, 10_000), 0),
    "repair": (["OK", [], 0, []], lambda partition: partition.repair("run", ["edges 1 2", "edges 2 3"], events=7), 1),
    "reap": (["OK", 0, 0, 100, 0, [], []], lambda partition: partition.reap(WHO, 3, heard_ms=7), 0),
    "begin_effect": (["OK", "new"], lambda partition: partition.begin_effect("op", REF, "charge", again=True), 0),
    "confirm_effect": (["OK"], lambda partition: partition.confirm_effect("op", REF, "charge", "1"), 0),
    "note_waits": (["OK", 1], lambda partition: partition.backlog.note_waits([("default/f", "no_capable_pod", 5)], 60), 3),
    "release": (["OK", ["OK", "OK"]], lambda partition: partition.release(WHO, ["a", "b"], leave=True), 1),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_passes_as_many_arguments_as_the_header_names(name: str) -> None:
    answer, make, more = CALLS[name]
    server = Server(**{name: answer})
    await make(partition(server))
    [(asked, args)] = server.asked
    assert asked == name
    assert len(args) == arguments_of(read(LUA / f"{name}.lua"))[0] + more
    assert all(isinstance(argument, str | int | bytes) for argument in args)


@pytest.mark.parametrize("refs", [0, 1, REFS_PER_CALL, REFS_PER_CALL + 1, 3 * REFS_PER_CALL])
def test_a_heartbeat_passes_all_claims_in_bounded_calls_and_looks_for_unheard_ones_in_the_last(
    monkeypatch: pytest.MonkeyPatch, refs: int
) -> None:
    server = BlockingServer(heartbeat=["OK", [], [], 0, 0, 5_000])
    monkeypatch.setattr("storage.heartbeats.open_blocking_client", lambda *_args, **_kwargs: server)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    connection = HeartbeatConnection("redis://h", Keys("pf", 0), "address", timeout_seconds=1)
    connection.beat(WHO, [f"ref {number}" for number in range(refs)], unheard_before_ms=4_000)
    assert arguments_of(read(LUA / "heartbeat.lua")) == (7, True)
    assert [ref for _, args in server.asked for ref in args[6:]] == [f"ref {number}" for number in range(refs)]
    assert all(len(args) <= 6 + REFS_PER_CALL for _, args in server.asked)
    assert [args[2] for _, args in server.asked] == [0] * (len(server.asked) - 1) + [4_000]


def test_unheard_claims_are_looked_for_before_the_beat_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier call of the same beat has noted bears the time of that call."""
    server = BlockingServer(heartbeat=["OK", [], [], 0, 0, 5_000])
    monkeypatch.setattr("storage.heartbeats.open_blocking_client", lambda *_args, **_kwargs: server)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    connection = HeartbeatConnection("redis://h", Keys("pf", 0), "address", timeout_seconds=1)
    connection.beat(WHO, ["ref"] * (REFS_PER_CALL + 1), unheard_before_ms=9_000)
    assert [args[2] for _, args in server.asked] == [0, 5_000]


async def test_a_claim_is_read_from_its_words() -> None:
    server = Server(claim=["OK", [], [f"{REF} 2 1 1700000000000001 1700000000000"], 0])
    [claim] = (await partition(server).claim("op", WHO, 1)).claims
    assert (claim.ref, claim.claim_id, claim.run_id) == (REF, REF[:32], RUN)
    assert (claim.index, claim.attempt, claim.lost) == (3, 2, 1)
    assert (claim.fencing_token, claim.ready_at_ms) == (1700000000000001, 1700000000000)


async def test_a_pod_that_is_not_known_is_told_so_with_and_without_a_commit() -> None:
    settled = await partition(Server(claim=["UNREGISTERED"])).claim("op", WHO, 1)
    assert (settled.words, settled.claims, settled.registered) == ([], [], False)
    settled = await partition(Server(commit=["UNREGISTERED", ["OK"], [], 1, []])).commit("op", WHO, [Ended("a", "failed", "{}")], 1)
    assert (settled.words, settled.cascades, settled.registered) == (["OK"], True, False)


async def test_timers_answer_slices_and_seconds() -> None:
    server = Server(fire_timers=["OK", [f"{RUN} 7 250", f"{RUN} root 500", f"{RUN} sweep 0"], 1_500, 3])
    assert await partition(server).fire_timers() == ([(RUN, "7", 250), (RUN, "root", 500), (RUN, "sweep", 0)], 1.5, 3)
    assert (await partition(Server(fire_timers=["OK", [], -1, 0])).fire_timers())[1] is None


async def test_a_reaper_without_the_right_to_judge_is_told_so() -> None:
    for word in ("GRACE", "LATE"):
        assert await partition(Server(reap=[word])).reap(WHO, 3, heard_ms=7) == word
    assert await partition(Server(reap=["OK", 1, 2, 250, 1, [], ["q/f 40"]])).reap(WHO, 3, heard_ms=7) == (1, 2, 0.25, [("q/f", 0.04)])


async def test_quiet_runs_are_answered_with_seconds_and_the_next_place() -> None:
    assert await partition(Server(audit=["OK", [RUN], 1_500, 50])).audit(1, 2, 3, 4, 5) == ([RUN], 1.5, 50)
    assert await partition(Server(audit=["OK", [], -1, 0])).audit(1, 2, 3, 4, 5) == ([], None, 0)


async def test_a_restored_slice_is_read_from_its_words_and_a_run_that_is_over_has_none() -> None:
    answer = ["OK", "rp", [1, 131_073], 3, ["0 queue"], [1, 0, 0, 0, 0, 0, 0]]
    restored = await partition(Server(restore=answer)).restore("run", GRAPH, 0, 10_000)
    assert restored == Restored("rp", {1: 131_073}, 3, ["0 queue"], [1, 0, 0, 0, 0, 0, 0])
    assert await partition(Server(restore=["TERMINAL", "failed"])).restore("run", GRAPH, 0, 10_000) is None


async def test_a_repair_answers_its_word_and_tells_of_runs_that_it_ended() -> None:
    ended: list[str] = []
    mending = partition(Server(repair=["OK", ["1 edges"], 1, [f"{RUN} failed"]]))
    mending.on_run_ended = lambda run_id, state: ended.append(f"{run_id} {state}")
    assert await mending.repair("run", ["edges 1 2"]) == Repaired("OK", ["1 edges"], cascades=True)
    assert ended == [f"{RUN} failed"]
    assert await partition(Server(repair=["BUSY"])).repair("run", []) == Repaired("BUSY", [], cascades=False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["OK", "new"], ("new", "")),
        (["OK", "confirmed", "[1]"], ("confirmed", "[1]")),
        (["STALE"], ("STALE", "")),
        (["TERMINAL", "failed"], ("TERMINAL", "failed")),
        (["FULL"], ("FULL", "")),
    ],
)
async def test_beginning_an_effect_answers_a_word_and_what_belongs_to_it(answer: list[Any], expected: tuple[str, str]) -> None:
    server = Server(begin_effect=answer)
    assert await partition(server).begin_effect("op", REF, "charge", again=False) == expected
    assert server.asked == [("begin_effect", ("op", REF, "charge", 64, "fail"))]


@pytest.mark.parametrize(
    ("answer", "expected"), [(["OK", 1], ("OK", True)), (["STALE"], ("STALE", False)), (["TERMINAL", "x"], ("TERMINAL", False))]
)
async def test_passing_on_answers_its_word_and_whether_there_is_more(answer: list[Any], expected: tuple[str, bool]) -> None:
    assert await partition(Server(pass_on=answer)).pass_on("run", "0", 0, None, "") == expected


async def test_only_the_last_of_several_calls_signs_a_pod_off() -> None:
    server = Server(release=["OK", ["OK"]])
    await partition(server).release(WHO, [f"ref {number}" for number in range(130)], leave=True)
    assert [(args[2], len(args) - 3) for _, args in server.asked] == [("", 64), ("", 64), ("leave", 2)]


def new_run(**fields: Any) -> NewRun:
    definition = WorkflowDefinition.model_validate({"tasks": {"a": {"task": "echo"}}} | fields)
    return NewRun(definition, compile_definition(definition), "key", "body")


def store(monkeypatch: pytest.MonkeyPatch, server: Server) -> Store:
    monkeypatch.setattr("storage.store.ANSWER_SECONDS", 0.0)
    store = Store("redis://nowhere", retention_seconds=60)
    monkeypatch.setattr(store, "_client", server)
    return store


async def test_creating_a_run_passes_as_many_arguments_as_the_header_names(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(create_run=["OK", "1", "running"], stage_run=["OK", 1])
    await store(monkeypatch, server).create_run(new_run(name="n", labels={"a": "ü"}, priority=-5, on_failure="stop", retention=1.5))
    [(_, args)] = server.asked
    assert len(args) == arguments_of(read(LUA / "create_run.lua"))[0]
    assert args[1] == "body"
    assert args[3:9] == (1, 1_500, "stop", -5, "n", '{"a": "ü"}')
    assert args[10:] == ("0 1 - -5 default/echo", "", 0, "", "", "", 10_000)


async def test_staging_passes_as_many_arguments_as_the_header_names(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(create_run=["OK", "1", "running"], stage_run=["OK", 1])
    monkeypatch.setattr("storage.store.PART_BYTES", 10)
    monkeypatch.setattr("storage.graphs.PART_BYTES", 10)
    await store(monkeypatch, server).create_run(new_run())
    *staged, (_, created) = server.asked
    assert {len(args) for _, args in staged} == {arguments_of(read(LUA / "stage_run.lua"))[0]}
    assert [args[1] for _, args in staged] == list(range(len(staged)))
    assert (created[9], created[12]) == (b"", len(staged))


@pytest.mark.parametrize(
    ("answer", "error"),
    [(["CONFLICT", RUN], IdempotencyConflict), (["UNSTAGED"], StorageUnavailable), (["WHAT"], StorageCorrupt)],
)
async def test_what_create_run_refuses_is_raised(monkeypatch: pytest.MonkeyPatch, answer: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await store(monkeypatch, Server(create_run=answer)).create_run(new_run())


@pytest.mark.parametrize(("answer", "error"), [(["UNKNOWN"], RunNotFound), (["TERMINAL", "failed"], RunAlreadyFinished)])
async def test_what_cancel_refuses_is_raised(monkeypatch: pytest.MonkeyPatch, answer: list[Any], error: type[Exception]) -> None:
    server = Server(cancel=answer)
    with pytest.raises(error):
        await store(monkeypatch, server).cancel(RUN, "why")
    assert [args for _, args in server.asked] == [(RUN, "why", "", 10_000)]
    assert arguments_of(read(LUA / "cancel.lua")) == (4, False)
