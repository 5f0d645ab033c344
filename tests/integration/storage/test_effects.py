"""begin_effect and confirm_effect: an effect is announced, confirmed at most once, and remembered for all attempts of its task."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from engine.errors import RunNotFound, StorageUnavailable, TaskNotFound
from engine.ids import effect_key
from engine.limits import EFFECTS_PER_TASK
from storage.partition import Claim
from storage.repeat import until_answered
from tests.support.expected import added, numbered, pods, run_row
from tests.support.faulty_client import Fault, between, not_sent, reply_lost
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod

REF = "op1.0 R1 0 - 0 default/task_a"


async def working(lab: Lab) -> tuple[LabPod, Claim]:
    """A pod that works on the first of two tasks."""
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a"))
    return pod, await pod.claim_one()


async def begin(lab: Lab, claim: Claim, name: str = "charge", *, op: str | None = None, again: bool = True) -> tuple[str, str]:
    with lab.moment():
        return await lab.partition.begin_effect(op or lab.op(), claim.ref, name, again=again)


async def confirm(lab: Lab, claim: Claim, op: str, result: str = '"p-1"', *, name: str = "charge") -> str:
    with lab.moment():
        return await lab.partition.confirm_effect(op, claim.ref, name, result)


async def begun(lab: Lab, claim: Claim, name: str = "charge") -> str:
    """The operation that has begun it."""
    op = lab.op()
    assert await begin(lab, claim, name, op=op) == ("new", "")
    return op


async def taken_over(lab: Lab, pod: LabPod, heir: LabPod) -> Claim:
    """The task's next attempt, on another pod, after its first pod has died."""
    lab.bury(pod)
    assert (await heir.reap() or ())[:2] == (1, 0)
    return await heir.claim_one()


async def test_an_announced_effect_is_recorded_with_its_claim_and_nothing_else_changes(lab: Lab) -> None:
    _, claim = await working(lab)
    before = lab.raw()
    shown = lab.shown(before)
    assert shown.pop("reply:p1")
    assert shown.pop(f"lease:{REF.split(' ', maxsplit=1)[0]}")
    assert shown == pods("p1") | {
        "run:R1": run_row(2, running=1, started="t"),
        "run:R1:graph": numbered("a part of the definition"),
        "run:R1:events": numbered("t run_created", "t ready 0 - -", "t started 0 1 p1"),
        "run:R1:tasks": {"0": "running 1 0 T t t - p1 op1.0"},
        "runs": {"R1": "t"},
        "audits": {"R1": "t"},
        "claims:p1": {REF: "t"},
    }
    assert await begin(lab, claim) == ("new", "")
    assert lab.changes(before) == added(
        {"run:R1:effects": {"0:charge": "sent 1 op1.0 op2 1", "0": "charge"}, "run:R1:events": {"4": "t effect_sent 0 1 p1 charge"}}
    )


async def test_a_confirmed_effect_keeps_its_result_and_nothing_else_changes(lab: Lab) -> None:
    _, claim = await working(lab)
    op = await begun(lab, claim)
    before = lab.raw()
    assert await confirm(lab, claim, op, '{"payment":"p-1"}') == "OK"
    assert lab.changes(before) == {
        "run:R1:effects": {"0:charge": 'sent 1 op1.0 op2 1 → confirmed 1 op1.0 op2 1 {"payment":"p-1"}'},
        "run:R1:events": {"5": "+t effect_confirmed 0 1 p1 charge"},
    }


async def test_the_first_answer_is_given_to_every_repeat_and_a_repeat_changes_nothing(lab: Lab) -> None:
    pod, claim = await working(lab)
    op = await begun(lab, claim)
    with lab.unchanged():
        assert await begin(lab, claim, op=op) == ("new", "")
    assert await confirm(lab, claim, op) == "OK"
    with lab.unchanged():
        assert await confirm(lab, claim, op) == "OK"
    heir = await taken_over(lab, pod, lab.pod("p2"))
    again = lab.op()
    assert await begin(lab, heir, "mail", op=again) == ("new", "")
    third = await taken_over(lab, lab.pods[1], lab.pod("p3"))
    op = lab.op()
    assert await begin(lab, third, "mail", op=op) == ("unknown", "")
    with lab.unchanged():
        assert await begin(lab, third, "mail", op=op) == ("unknown", "")


async def test_a_later_attempt_learns_that_an_effect_was_sent_and_never_confirmed(lab: Lab) -> None:
    pod, claim = await working(lab)
    await begun(lab, claim)
    heir = await taken_over(lab, pod, lab.pod("p2"))
    before = lab.raw()
    op = lab.op()
    assert await begin(lab, heir, op=op) == ("unknown", "")
    assert lab.changes(before) == {
        "run:R1:effects": {"0:charge": "sent 1 op1.0 op2 1 → sent 2 op3.0 op4 2"},
        "run:R1:events": {"8": "+t effect_sent 0 2 p2 charge"},
    }
    assert await confirm(lab, heir, op, "7") == "OK"


async def test_an_attempt_that_does_not_want_to_begin_again_leaves_the_record_as_it_is(lab: Lab) -> None:
    pod, claim = await working(lab)
    assert await begin(lab, claim, again=False) == ("new", "")
    heir = await taken_over(lab, pod, lab.pod("p2"))
    with lab.unchanged():
        assert await begin(lab, heir, again=False) == ("unknown", "")


async def test_a_later_attempt_gets_the_result_of_a_confirmed_effect_and_changes_nothing(lab: Lab) -> None:
    pod, claim = await working(lab)
    assert await confirm(lab, claim, await begun(lab, claim), '"a\\nb"') == "OK"
    heir = await taken_over(lab, pod, lab.pod("p2"))
    with lab.unchanged():
        assert await begin(lab, heir) == ("confirmed", '"a\\nb"')


async def test_a_second_confirmation_is_refused_whoever_sends_it(lab: Lab) -> None:
    pod, claim = await working(lab)
    first, second = await begun(lab, claim), lab.op()
    assert await begin(lab, claim, op=second) == ("unknown", "")
    assert await confirm(lab, claim, second, "2") == "OK"
    with lab.unchanged():
        assert await confirm(lab, claim, first, "1") == "CONFIRMED"
    heir = await taken_over(lab, pod, lab.pod("p2"))
    with lab.unchanged():
        assert await confirm(lab, heir, lab.op(), "3") == "CONFIRMED"
    assert [event for event in lab.events(claim.run_id) if event.startswith("effect_confirmed")] == ["effect_confirmed 0 1 p1 charge"]
    assert await begin(lab, heir) == ("confirmed", "2")


@pytest.mark.parametrize("how", ["reaped", "released", "committed", "another run's"])
async def test_a_claim_that_is_not_current_can_neither_announce_nor_confirm(lab: Lab, how: str) -> None:
    pod, claim = await working(lab)
    op = await begun(lab, claim)
    if how == "reaped":
        await taken_over(lab, pod, lab.pod("p2"))
    elif how == "released":
        await pod.release(claim)
    elif how == "committed":
        await pod.succeed(claim)
    else:
        claim = Claim.parse(f"{'f' * 32} 01890000-0000-7000-8000-00000000000f 0 - 0 default/task_a 1 0 1 1")
    with lab.unchanged():
        assert (await begin(lab, claim, op=op))[0] == "STALE"
        assert (await begin(lab, claim, "other"))[0] == "STALE"
        assert await confirm(lab, claim, op) == "STALE"


async def test_a_confirmation_whose_answer_came_too_late_is_still_told_that_it_counted(lab: Lab) -> None:
    pod, claim = await working(lab)
    op = await begun(lab, claim)
    assert await confirm(lab, claim, op) == "OK"
    await taken_over(lab, pod, lab.pod("p2"))
    with lab.unchanged():
        assert await confirm(lab, claim, op) == "OK"


async def test_after_the_end_of_its_run_an_attempt_can_neither_announce_nor_confirm(lab: Lab) -> None:
    _, claim = await working(lab)
    op = await begun(lab, claim)
    await lab.cancel(claim.run_id)
    with lab.unchanged():
        assert await begin(lab, claim, op=op) == ("TERMINAL", "cancelled")
        assert await begin(lab, claim, "other") == ("TERMINAL", "cancelled")
        assert await confirm(lab, claim, op) == "TERMINAL"


async def test_a_task_has_a_bounded_number_of_names_and_another_task_its_own(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    claim, other = await pod.claim()
    names = [f"n{number}" for number in range(EFFECTS_PER_TASK)]
    for name in names:
        await begun(lab, claim, name)
    with lab.unchanged():
        assert (await begin(lab, claim, "one-more"))[0] == "FULL"
    assert (await begin(lab, claim, names[0]))[0] == "unknown"
    assert (await begin(lab, other, "one-more"))[0] == "new"
    assert [effect.name for effect in await lab.store.get_effects(run_id, "a")] == names


async def test_a_confirmation_whose_announcement_the_server_has_forgotten_counts(lab: Lab) -> None:
    """A failover may lose the last second; what happened outside has happened."""
    pod, claim = await working(lab)
    op = await begun(lab, claim)
    lab.client.delete(lab.keys.effects(claim.run_id))
    assert await confirm(lab, claim, op, "1") == "OK"
    assert lab.shown()["run:R1:effects"] == {"0:charge": "confirmed 1 op1.0 op2 1 1", "0": "charge"}
    heir = await taken_over(lab, pod, lab.pod("p2"))
    assert await begin(lab, heir) == ("confirmed", "1")


async def test_an_attempt_that_begins_again_and_again_leaves_one_event(lab: Lab) -> None:
    _, claim = await working(lab)
    for number in range(5):
        assert (await begin(lab, claim))[0] == ("unknown" if number else "new")
    assert lab.shown()["run:R1:effects"] == {"0:charge": "sent 1 op1.0 op6 5", "0": "charge"}
    assert lab.events(claim.run_id)[3:] == ["effect_sent 0 1 p1 charge"]


async def test_readers_see_each_effect_with_its_state_and_key(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    claim, other = await pod.claim()
    await begun(lab, claim, "charge")
    op = await begun(lab, claim, "mail")
    assert await confirm(lab, claim, op, json.dumps({"to": "a b\nc"}), name="mail") == "OK"
    await begun(lab, other, "charge")

    async def effects(task_id: str = "a") -> list[tuple[str, str, int]]:
        found = await lab.store.get_effects(run_id, task_id)
        assert [effect.key for effect in found] == [effect_key(run_id, task_id, effect.name) for effect in found]
        return [(effect.name, effect.state, effect.attempt) for effect in found]

    assert await effects() == [("charge", "sent", 1), ("mail", "confirmed", 1)]
    assert await effects("b") == [("charge", "sent", 1)]
    heir = await taken_over_both(lab, pod, lab.pod("p2"))
    assert await effects() == [("charge", "unknown", 1), ("mail", "confirmed", 1)]
    assert (await begin(lab, heir))[0] == "unknown"
    assert await effects() == [("charge", "sent", 2), ("mail", "confirmed", 1)]
    await lab.cancel(run_id)
    assert await effects() == [("charge", "unknown", 2), ("mail", "confirmed", 1)]


async def taken_over_both(lab: Lab, pod: LabPod, heir: LabPod) -> Claim:
    """The next attempt of the first of two tasks."""
    lab.bury(pod)
    assert (await heir.reap() or ())[:2] == (2, 0)
    return (await heir.claim())[0]


async def test_events_name_the_effect_its_attempt_and_its_pod(lab: Lab) -> None:
    _, claim = await working(lab)
    await confirm(lab, claim, await begun(lab, claim))
    events = await lab.store.get_events(claim.run_id, after=3, limit=10)
    assert [(event.type, event.task_id, event.attempt, event.pod, event.detail) for event in events] == [
        ("effect_sent", "a", 1, "p1", "charge"),
        ("effect_confirmed", "a", 1, "p1", "charge"),
    ]


async def test_a_task_without_effects_has_none_and_what_does_not_exist_is_not_found(lab: Lab) -> None:
    run_id = await lab.create(dag(a=""))
    assert await lab.store.get_effects(run_id, "a") == []
    with pytest.raises(TaskNotFound):
        await lab.store.get_effects(run_id, "b")
    with pytest.raises(RunNotFound):
        await lab.store.get_effects("01890000-0000-7000-8000-00000000000f", "a")


@pytest.mark.parametrize("faults", [[not_sent], [reply_lost], [reply_lost, not_sent, reply_lost]])
async def test_calls_whose_reply_is_lost_announce_and_confirm_once(lab: Lab, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]) -> None:
    _, claim = await working(lab)
    client, op = between(monkeypatch, lab.store), lab.op()
    client.plan = {"begin_effect": list(faults), "confirm_effect": list(faults)}
    assert await repeated(lambda: begin(lab, claim, op=op)) == ("new", "")
    assert await repeated(lambda: confirm(lab, claim, op)) == "OK"
    assert lab.events(claim.run_id)[3:] == ["effect_sent 0 1 p1 charge", "effect_confirmed 0 1 p1 charge"]


async def repeated(call: Callable[[], Awaitable[object]]) -> object:
    return await until_answered(call, within_seconds=5)


async def test_a_server_that_stays_away_is_reported_as_unavailable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _, claim = await working(lab)
    between(monkeypatch, lab.store).plan["begin_effect"] = [not_sent]
    with lab.unchanged(), pytest.raises(StorageUnavailable):
        await begin(lab, claim)
