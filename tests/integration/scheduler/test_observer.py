"""Each attempt ends once, in one word, and what pods do is told while they do it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from engine.observer import End
from engine.states import RunState
from scheduler.context import TaskContext
from storage.partition import Identity
from tests.support.bench import Bench
from tests.support.waiting import wait_until_async

CALLS = {"claim", "commit", "heartbeat", "create_run"}


@dataclass
class Ledger:
    """An observer that keeps what it hears."""

    claims: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    ends: list[tuple[str, End, float | None]] = field(default_factory=list[tuple[str, End, float | None]])
    takeovers: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    beats: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def claimed(self, lane: str, waited_seconds: float, /) -> None:
        self.claims.append((lane, waited_seconds))

    def ended(self, function: str, end: End, seconds: float | None, /) -> None:
        self.ends.append((function, end, seconds))

    def taken_over(self, function: str, seconds: float, /) -> None:
        self.takeovers.append((function, seconds))

    def beaten(self, late_seconds: float, seconds: float, /) -> None:
        self.beats.append((late_seconds, seconds))

    def words(self) -> Counter[tuple[str, str]]:
        return Counter((function, end.value) for function, end, _ in self.ends)


async def good() -> bool:
    return True


async def fails_once(ctx: TaskContext) -> bool:
    return ctx.attempt > 1


async def hangs() -> None:
    await asyncio.sleep(3600)


async def ends() -> bool:
    return True


ends.__name__ = hangs.__name__  # the next version, in which the same function ends


async def test_every_attempt_is_claimed_once_and_ends_once(bench: Bench) -> None:
    ledger = Ledger()
    await bench.pod(good, fails_once, hangs, observer=ledger)
    run, _ = await bench.run(
        {
            "tasks": {
                "a": {"task": "good"},
                "b": {"task": "good", "depends_on": ["a"]},
                "again": {"task": "fails_once", "retry": {"max_attempts": 2, "wait": {"initial": 0.01}}},
                "late": {"task": "hangs", "timeout": 0.05},
            }
        }
    )
    assert run.state is RunState.FAILED
    await wait_until_async(lambda: len(ledger.ends) == 5 or None, "every attempt has ended")
    assert ledger.words() == {
        ("good", "succeeded"): 2,
        ("fails_once", "failed"): 1,
        ("fails_once", "succeeded"): 1,
        ("hangs", "timed_out"): 1,
    }
    assert Counter(lane for lane, _ in ledger.claims) == {"default/good": 2, "default/fails_once": 2, "default/hangs": 1}
    assert all(0 <= waited < 20 for _, waited in ledger.claims)
    (hung,) = [seconds for function, _, seconds in ledger.ends if function == "hangs"]
    assert hung is not None
    assert 0.05 <= hung < 20
    assert ledger.beats
    assert all(late >= 0 and took > 0 for late, took in ledger.beats)


async def test_an_attempt_of_a_run_that_is_cancelled_ends_as_cancelled(bench: Bench) -> None:
    ledger = Ledger()
    await bench.pod(hangs, observer=ledger)
    run_id = await bench.post({"tasks": {"a": {"task": "hangs"}}})
    await wait_until_async(lambda: ledger.claims or None, "the task runs")
    await bench.store.cancel(run_id)
    await wait_until_async(lambda: ledger.ends or None, "the attempt was stopped")
    assert ledger.ends == [("hangs", End.CANCELLED, None)]


async def test_what_a_stopping_pod_gives_back_ends_as_released(bench: Bench) -> None:
    ledger = Ledger()
    pod = await bench.pod(hangs, observer=ledger)
    run_id = await bench.post({"tasks": {"a": {"task": "hangs"}}})
    await wait_until_async(lambda: ledger.claims or None, "the task runs")
    await bench.stop(pod)
    assert ledger.ends == [("hangs", End.RELEASED, None)]
    await bench.pod(ends)
    await bench.finished(run_id)


async def test_the_waiting_of_a_task_is_counted_from_its_being_ready(bench: Bench) -> None:
    await bench.post({"tasks": {"a": {"task": "good"}}})
    await asyncio.sleep(0.3)  # this is what is measured
    ledger = Ledger()
    await bench.pod(good, observer=ledger)
    await wait_until_async(lambda: ledger.claims or None, "the task is claimed")
    assert 0.29 <= ledger.claims[0][1] < 60


async def test_a_dead_pods_task_is_told_by_the_pod_that_puts_it_back(bench: Bench) -> None:
    dead = Identity("dead", "", 1_000)
    run_id = await bench.post({"tasks": {"a": {"task": "good"}}})
    (connection,) = bench.store.heartbeat_connections(timeout_seconds=2)
    capabilities = " q:default f:good "
    await asyncio.to_thread(lambda: connection.beat(dead, [], capabilities=capabilities, description="{}"))
    assert len((await bench.store.partitions[0].claim("0" * 30, dead, 1)).claims) == 1
    connection.disconnect()
    ledger = Ledger()
    await bench.pod(good, ttl_seconds=2.0, observer=ledger)
    run, _ = await bench.finished(run_id)
    assert run.state is RunState.SUCCEEDED
    ((function, seconds),) = ledger.takeovers
    assert function == "good"
    # The dead pod's deadline was one second after its beat; a lease is taken to be as long as the reaper's own.
    assert 2.0 <= seconds < 30
    assert ledger.words() == {("good", "succeeded"): 1}


async def test_every_script_call_is_told_with_its_name(bench: Bench) -> None:
    told: list[tuple[str, float, bool]] = []
    bench.store.observe(lambda name, seconds, answered: told.append((name, seconds, answered)))
    await bench.pod(good)
    await bench.run({"tasks": {"a": {"task": "good"}}})
    assert {name for name, _, _ in told} >= CALLS
    assert all(answered and 0 < seconds < 60 for _, seconds, answered in told)
