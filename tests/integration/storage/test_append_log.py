"""append_log: lines of attempts are put at the end of their run's log, once each, and the oldest go where there are too many."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import RunNotFound, TaskNotFound
from storage.partition import Claim
from storage.task_logs import BEGINNING, Batch, LogCaps, LogPlace, body_of, encode_line
from tests.support.expected import added
from tests.support.lab import Lab, dag
from tests.support.lab_pod import LabPod

CAPS = LogCaps()


def batch(claim: Claim, *texts: str, op: str = "op", dropped: int = 0, age_ms: int = 0) -> Batch:
    rows = [encode_line(age_ms, "stdout", text, None, None) for text in texts]
    return Batch(claim.index, claim.attempt, op, len(rows), dropped, body_of(rows))


async def append(lab: Lab, run_id: str, *batches: Batch, caps: LogCaps = CAPS, pod: str = "p1") -> list[str]:
    with lab.moment():
        return await lab.partition.append_log(run_id, pod, batches, caps)


async def working(lab: Lab, **fields: Any) -> tuple[LabPod, Claim]:
    pod = lab.pod("p1")
    await lab.create(dag(a="", b="a") | fields)
    return pod, await pod.claim_one()


async def texts(lab: Lab, run_id: str, **filters: Any) -> list[str]:
    return [line.text for line in (await lab.store.get_log(run_id, after=BEGINNING, limit=1_000, **filters)).lines]


async def test_lines_are_kept_with_their_attempt_and_nothing_else_changes(lab: Lab) -> None:
    _, claim = await working(lab)
    before = lab.raw()
    assert await append(lab, claim.run_id, batch(claim, "one", "two", dropped=3)) == ["OK"]
    assert lab.changes(before) == {"run:R1": {"logged": "+1"}} | added(
        {
            "run:R1:log": {"1": 't 0:1 1 2 3 p1\n[[0,0,"one"],[0,0,"two"]]'},
            "run:R1:logged": {"0:1": "1 2 2 25 3 op", "0:1:1": "1 2 25", "*": "1 2 2 25 3 -"},
        }
    )


async def test_a_batch_that_is_sent_twice_is_kept_once(lab: Lab) -> None:
    _, claim = await working(lab)
    assert await append(lab, claim.run_id, batch(claim, "one")) == ["OK"]
    with lab.unchanged():
        assert await append(lab, claim.run_id, batch(claim, "one")) == ["OK"]
    assert await append(lab, claim.run_id, batch(claim, "one", op="next")) == ["OK"]
    assert await texts(lab, claim.run_id) == ["one", "one"]


async def test_lines_have_the_server_s_time_less_their_age(lab: Lab) -> None:
    _, claim = await working(lab)
    earliest = lab.now_ms()
    await append(lab, claim.run_id, batch(claim, "now", "then", age_ms=5_000))
    [now, _] = (await lab.store.get_log(claim.run_id, after=BEGINNING, limit=10)).lines
    assert earliest - 5_000 <= now.at_ms <= lab.now_ms() - 5_000


async def test_what_an_attempt_prints_that_was_taken_for_dead_stays_with_that_attempt(lab: Lab) -> None:
    pod, zombie = await working(lab)
    lab.bury(pod)
    heir_pod = lab.pod("p2")
    assert (await heir_pod.reap() or ())[:2] == (1, 0)
    heir = await heir_pod.claim_one()
    with lab.unchanged(*(f"run:{zombie.run_id}{suffix}" for suffix in ("", ":log", ":logged"))):
        await append(lab, zombie.run_id, batch(zombie, "I live"), batch(heir, "so do I", op="o2"))
    assert await texts(lab, zombie.run_id, task_id="a", attempt=1) == ["I live"]
    assert await texts(lab, zombie.run_id, task_id="a", attempt=2) == ["so do I"]
    assert await texts(lab, zombie.run_id, task_id="a") == ["I live", "so do I"]


async def test_an_attempt_that_was_given_back_keeps_its_lines(lab: Lab) -> None:
    pod, claim = await working(lab)
    await pod.release(claim)
    assert await append(lab, claim.run_id, batch(claim, "given back")) == ["OK"]
    assert await texts(lab, claim.run_id, task_id="a") == ["given back"]


async def test_there_is_no_place_for_lines_of_attempts_that_never_were(lab: Lab) -> None:
    _, claim = await working(lab)
    with lab.unchanged():
        assert await append(lab, claim.run_id, Batch(0, 3, "op", 1, 0, b"[]"), Batch(1, 1, "op", 1, 0, b"[]")) == ["STALE", "STALE"]
        assert await append(lab, "01890000-0000-7000-8000-00000000000f", batch(claim, "x")) == []


async def test_the_newest_lines_of_an_attempt_are_kept_and_the_rest_is_counted(lab: Lab) -> None:
    _, claim = await working(lab)
    for number in range(10):
        await append(lab, claim.run_id, batch(claim, f"{number}a", f"{number}b", op=f"o{number}"), caps=LogCaps(lines=5))
    assert await texts(lab, claim.run_id) == ["8a", "8b", "9a", "9b"]
    assert await lab.store.log_dropped(claim.run_id) == await lab.store.log_dropped(claim.run_id, task_id="a", attempt=1) == 16
    assert lab.client.llen(lab.keys.log(claim.run_id)) == 2
    assert lab.client.hlen(lab.keys.logged(claim.run_id)) == 4


async def test_bytes_of_an_attempt_are_bounded_too(lab: Lab) -> None:
    _, claim = await working(lab)
    for number in range(10):
        await append(lab, claim.run_id, batch(claim, str(number) * 1_000, op=f"o{number}"), caps=LogCaps(size=3_100))
    assert [text[0] for text in await texts(lab, claim.run_id)] == ["7", "8", "9"]


async def test_a_talkative_attempt_costs_the_others_nothing(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    a, b = await pod.claim(2)
    await append(lab, run_id, batch(a, "a0"), batch(b, "quiet"))
    for number in range(1, 6):
        await append(lab, run_id, batch(a, f"a{number}", op=f"o{number}"), caps=LogCaps(lines=2))
    assert await texts(lab, run_id) == ["quiet", "a4", "a5"]
    assert await texts(lab, run_id, task_id="b") == ["quiet"]
    assert await texts(lab, run_id, task_id="a") == ["a4", "a5"]


async def test_the_oldest_lines_of_a_run_go_where_all_of_it_is_too_much(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(6)}))
    for claim in await pod.claim(6):
        await append(lab, run_id, batch(claim, str(claim.index) * 1_000), caps=LogCaps(run_size=3_200))
    assert [text[0] for text in await texts(lab, run_id)] == ["3", "4", "5"]
    assert await lab.store.log_dropped(run_id) == 3
    assert await lab.store.log_dropped(run_id, task_id="t1") == 1
    assert await texts(lab, run_id, task_id="t1") == []


async def test_a_run_never_has_a_quarter_more_than_it_may(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(**{f"t{number}": "" for number in range(60)}))
    claims = await pod.claim(60)
    for claim in claims[:50]:
        await append(lab, run_id, batch(claim, "x" * 30), caps=LogCaps(run_size=2_400))
    for claim in claims[50:]:
        words = await append(lab, run_id, batch(claim, "y" * 2_000), caps=LogCaps(run_size=2_400))
        assert words in (["OK"], ["FULL"])
        assert int((lab.client.hget(lab.keys.logged(run_id), "*") or b"").split()[3]) <= 3_000
    kept = len(await texts(lab, run_id))
    assert kept + await lab.store.log_dropped(run_id) == 60


async def test_lines_end_with_their_run_whether_they_come_before_or_after_its_end(lab: Lab) -> None:
    pod, claim = await working(lab)
    await append(lab, claim.run_id, batch(claim, "before"))
    assert lab.client.pttl(lab.keys.log(claim.run_id)) == -1
    await lab.cancel(claim.run_id)
    ends = lab.client.pexpiretime(lab.keys.run(claim.run_id))
    for key in (lab.keys.log(claim.run_id), lab.keys.logged(claim.run_id)):
        assert lab.client.pexpiretime(key) == ends
    other = await lab.create(dag(a=""))
    last = await pod.claim_one()
    await pod.succeed(last)
    assert await append(lab, other, batch(last, "after")) == ["OK"]
    for key in (lab.keys.log(other), lab.keys.logged(other)):
        assert abs(int(str(lab.client.pexpiretime(key))) - int(str(lab.client.pexpiretime(lab.keys.run(other))))) <= 50
    assert await texts(lab, other) == ["after"]


async def test_a_run_that_logs_nothing_has_no_key_for_it(lab: Lab) -> None:
    pod, claim = await working(lab)
    await pod.succeed(claim)
    assert await texts(lab, claim.run_id) == []
    assert not [key for key in lab.raw() if ":log" in key]


async def test_pages_follow_one_another_without_a_gap_wherever_they_are_cut(lab: Lab) -> None:
    _, claim = await working(lab)
    for number in range(40):
        await append(lab, claim.run_id, batch(claim, f"{number}a", f"{number}b", f"{number}c", op=f"o{number}"))
    everything = [f"{number}{letter}" for number in range(40) for letter in "abc"]
    last = BEGINNING
    for task_id in (None, "a"):
        for limit in (1, 7, 1_000):
            page = await lab.store.get_log(claim.run_id, task_id=task_id, after=BEGINNING, limit=limit)
            found = [line.text for line in page.lines]
            while page.more:
                page = await lab.store.get_log(claim.run_id, task_id=task_id, after=page.last, limit=limit)
                found += [line.text for line in page.lines]
            assert found == everything
            assert page.seen == 40
            last = page.last
    await append(lab, claim.run_id, batch(claim, "new", op="last"))
    assert [line.text for line in (await lab.store.get_log(claim.run_id, after=last, limit=10)).lines] == ["new"]


async def test_a_page_of_long_lines_ends_before_it_is_large(lab: Lab) -> None:
    _, claim = await working(lab)
    for number in range(20):
        await append(lab, claim.run_id, batch(claim, "x" * 64_000, "y" * 64_000, op=f"o{number}"), caps=LogCaps(size=1 << 24))
    page = await lab.store.get_log(claim.run_id, after=BEGINNING, limit=1_000)
    assert page.more
    assert sum(len(line.text) for line in page.lines) < 1_300_000


@pytest.mark.parametrize("lost", ["log", "logged"])
async def test_where_one_of_the_two_keys_was_lost_new_lines_can_still_be_read(lab: Lab, lost: str) -> None:
    _, claim = await working(lab)
    for number in range(3):
        await append(lab, claim.run_id, batch(claim, f"old {number}", op=f"o{number}"))
    lab.client.delete(lab.key(f"run:{claim.run_id}:{lost}"))
    await append(lab, claim.run_id, batch(claim, "new", op="new"))
    assert (await texts(lab, claim.run_id))[-1] == "new"
    assert await texts(lab, claim.run_id, task_id="a") == ["new"]


async def test_what_does_not_exist_has_no_log(lab: Lab) -> None:
    _, claim = await working(lab)
    with pytest.raises(TaskNotFound):
        await lab.store.get_log(claim.run_id, task_id="z", after=BEGINNING, limit=1)
    for read in (
        lab.store.get_log("01890000-0000-7000-8000-00000000000f", after=BEGINNING, limit=1),
        lab.store.look_at_log("01890000-0000-7000-8000-00000000000f", 0),
    ):
        with pytest.raises(RunNotFound):
            await read


async def test_a_look_tells_what_has_come_since_the_last_one(lab: Lab) -> None:
    _, claim = await working(lab)
    look = await lab.store.look_at_log(claim.run_id, 0)
    assert (look.pieces, look.last) == ([], 0)
    for number in range(20):
        await append(lab, claim.run_id, batch(claim, f"{number}", op=f"o{number}"))
    look = await lab.store.look_at_log(claim.run_id, look.last)
    assert [piece.place for piece in look.pieces] == list(range(1, 17))
    look = await lab.store.look_at_log(claim.run_id, look.last)
    assert [json.loads(piece.body)[0][2] for piece in look.pieces] == ["16", "17", "18", "19"]
    assert (await lab.store.look_at_log(claim.run_id, look.last)).pieces == []


def test_a_place_is_read_as_it_was_written() -> None:
    assert LogPlace.parse(str(LogPlace(17, 3))) == LogPlace(17, 3)
    assert [LogPlace.parse(text) for text in ("", "17", "a-1", "1-1-1", "-1-1")] == [None] * 5


async def test_lines_of_tasks_that_took_turns_are_found_for_each(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b=""))
    claims = await pod.claim(2)
    for number in range(40):
        for claim in claims:
            await append(lab, run_id, batch(claim, f"{claim.index} {number}", op=f"o{number}"))
    for index, task_id in enumerate("ab"):
        assert await texts(lab, run_id, task_id=task_id) == [f"{index} {number}" for number in range(40)]


async def test_a_page_that_meets_the_loss_of_its_first_lines_tells_the_others_rightly(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _, claim = await working(lab)
    for number in range(5):
        await append(lab, claim.run_id, batch(claim, f"{number}", op=f"o{number}"))
    looks = 0
    span = lab.store.log_span

    async def span_then_loss(run_id: str) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        found = await span(run_id)
        if looks == 2:
            await append(lab, run_id, batch(claim, "5", op="o5"), caps=LogCaps(lines=3))
        return found

    monkeypatch.setattr(lab.store, "log_span", span_then_loss)
    assert await texts(lab, claim.run_id) == ["3", "4"]
    assert looks == 3
    assert await texts(lab, claim.run_id) == ["3", "4", "5"]
