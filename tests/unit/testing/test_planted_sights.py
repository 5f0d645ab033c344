"""Secrets that show, and effects that were confirmed twice: S19 and E1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import JsonValue

from peerflow.testing.checker import check
from peerflow.testing.records import RunRecord
from storage.views import AttemptView
from tests.support.fake_run import FakeRun
from tests.support.lab import dag
from tests.support.planting import finished, found

SECRET = "hunter2"


def with_secret(record: RunRecord, place: str) -> RunRecord:
    match place:
        case "run":
            return replace(record, run=replace(record.run, labels={SECRET: "x"}))
        case "definition":
            task = replace(record.graph.tasks[0], args={"headers": [{"key": f"Bearer {SECRET}"}]})
            return replace(record, graph=replace(record.graph, tasks=(task,)))
        case "task":
            return replace(record, tasks=(replace(record.tasks[0], error={"message": SECRET}),))
        case "event":
            return replace(record, events=(replace(record.events[0], detail=SECRET), *record.events[1:]))
        case _:
            error: JsonValue = {"message": SECRET}
            return replace(record, attempts={"a": (AttemptView(1, "lost", None, 1, "p1", error),)})


@pytest.mark.parametrize("place", ["run", "definition", "task", "event", "attempts"])
def test_s19_a_secret_shows_in_what_readers_see(place: str) -> None:
    run = finished(dag(a=""))
    record = with_secret(run.record(), place)
    seen = [violation for violation in check(run.history, [record], secrets=[SECRET]) if violation.invariant == "S19"]
    assert len(seen) == 1
    assert SECRET not in str(seen[0])
    assert [violation for violation in check(run.history, [record], secrets=["something else"]) if violation.invariant == "S19"] == []


def test_s19_a_secret_shows_in_the_history_or_in_the_name_of_a_key() -> None:
    run = finished(dag(a=""))
    assert found(run, secrets=[SECRET], leftover_keys=[f"{{pf:0}}:lease:{SECRET}"]) == {"S18", "S19"}
    assert found(run, secrets=[SECRET], leftover_keys=["{pf:0}:lease:0123"]) == {"S18"}
    run.history.ok(run.history.invoke("status"), body={"x": [1, None, SECRET]})
    assert found(run, secrets=[SECRET]) == {"S19"}


def effect(run: FakeRun, phase: Any, key: str = "k", name: str = "charge") -> None:
    run.history.effect(run_id=run.run_id, task_id="a", name=name, key=key, phase=phase)


def test_e1_code_saw_an_effect_confirmed_twice_or_under_two_keys() -> None:
    run = finished(dag(a=""))
    effect(run, "sent")
    effect(run, "sent")
    effect(run, "confirmed")
    assert found(run) == set()
    effect(run, "confirmed", name="mail")
    effect(run, "confirmed", name="mail")
    assert found(run) == {"E1"}
    assert found(run, rollback=True) == set()
    effect(run, "sent", key="another")
    assert found(run, rollback=True) == {"E1"}


def test_e1_events_confirm_an_effect_twice_and_s2_an_attempt_that_is_not_current_does() -> None:
    def confirmed(*pods: str, twice: bool = False) -> set[str]:
        run = FakeRun(dag(a=""))
        run.claim("a", "p1")
        run.emit("effect_sent", "a", detail="charge")
        if twice:
            run.emit("effect_confirmed", "a", detail="charge")
        run.lose("a")
        run.claim("a", "p2")
        for pod in pods:
            run.emit("effect_confirmed", "a", detail="charge", pod=pod)
        run.succeed("a")
        return found(run)

    assert confirmed("p2") == set()
    assert confirmed("p2", twice=True) == {"E1"}
    assert confirmed("p1") == {"S2"}
