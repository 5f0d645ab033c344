"""note_waits: why ready tasks stay in their lanes is noted: a new interval where the reason has changed, else the last one lasts longer."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import cast

from storage.backlog import NOTES_PER_CALL
from storage.keys import Keys
from tests.support.lab import Lab

LANE = "default/f"


def lines(lab: Lab, lane: str = LANE) -> list[list[str]]:
    return [line.decode().split() for line in cast("list[bytes]", lab.client.lrange(lab.keys.waits(lane), 0, -1))]


def put(lab: Lab, *entries: tuple[str, int, int]) -> None:
    """Intervals as they would be stored, ms before now."""
    now = lab.now_ms()
    lab.client.delete(lab.keys.waits(LANE))
    for code, from_ms, to_ms in entries:
        lab.client.rpush(lab.keys.waits(LANE), f"{code} {now - from_ms} {now - to_ms}")
    lab.client.pexpire(lab.keys.waits(LANE), 3_600_000)


async def note(lab: Lab, code: str, since_ms: int, lane: str = LANE) -> int:
    """Answers how many intervals are new."""
    with lab.moment():
        return await lab.partition.backlog.note_waits([(lane, code, since_ms)], 3_600)


async def test_the_first_note_begins_when_the_wait_did_and_nothing_else_changes(lab: Lab) -> None:
    before = lab.raw()
    with lab.moment():
        since = lab.now_ms()
    with lab.moment():
        assert await lab.partition.backlog.note_waits([(LANE, "no_capable_pod", since), ("*", "refused", since)], 3_600) == 2
    assert lab.changes(before) == {
        "waits:default/f": {"1": "+no_capable_pod t t", "(until)": "+t+3600000"},
        "waits:*": {"1": "+refused t t", "(until)": "+t+3600000"},
    }
    assert [line[:2] for line in lines(lab)] == [["no_capable_pod", str(since)]]


async def test_the_same_reason_lasts_longer(lab: Lab) -> None:
    put(lab, ("no_capable_pod", 60_000, 1_000))
    [[_, began, _]] = lines(lab)
    assert await note(lab, "no_capable_pod", lab.now_ms() - 60_000) == 0
    [[code, from_ms, to_ms]] = lines(lab)
    assert (code, from_ms) == ("no_capable_pod", began)
    assert lab.now_ms() - int(to_ms) < 30_000


async def test_a_note_that_is_made_twice_changes_only_how_long_it_lasts(lab: Lab) -> None:
    since = lab.now_ms() - 5_000
    assert [await note(lab, "no_capable_pod", since) for _ in range(3)] == [1, 0, 0]
    assert [line[:2] for line in lines(lab)] == [["no_capable_pod", str(since)]]


async def test_another_reason_begins_where_the_last_one_was_noted_last(lab: Lab) -> None:
    put(lab, ("no_capable_pod", 60_000, 1_000))
    until = lines(lab)[0][2]
    assert await note(lab, "pod_capacity", lab.now_ms() - 60_000) == 1
    first, second = lines(lab)
    assert first[2] == until
    assert second[:2] == ["pod_capacity", until]


async def test_a_wait_that_began_after_the_last_one_has_its_own_interval(lab: Lab) -> None:
    put(lab, ("no_capable_pod", 60_000, 30_000))
    since = lab.now_ms() - 5_000
    assert await note(lab, "no_capable_pod", since) == 1
    assert lines(lab)[1][:2] == ["no_capable_pod", str(since)]


async def test_a_wait_that_nobody_noted_for_a_while_has_gone_on(lab: Lab) -> None:
    put(lab, ("no_capable_pod", 60_000, 30_000))
    assert await note(lab, "no_capable_pod", lab.now_ms() - 60_000) == 0
    assert lab.now_ms() - int(lines(lab)[0][2]) < 30_000


async def test_a_clock_that_went_back_makes_no_interval_negative(lab: Lab) -> None:
    put(lab, ("no_capable_pod", 60_000, -60_000))
    ends = int(lines(lab)[0][2])
    assert await note(lab, "no_capable_pod", lab.now_ms() - 1_000) == 0
    assert int(lines(lab)[0][2]) == ends
    assert await note(lab, "pod_capacity", lab.now_ms() - 1_000) == 1
    assert lines(lab)[1] == ["pod_capacity", str(ends), str(ends)]
    assert await note(lab, "no_capable_pod", lab.now_ms() + 900_000) == 1
    assert lines(lab)[2] == ["no_capable_pod", str(ends), str(ends)]


async def test_a_hundred_intervals_of_a_lane_are_kept(lab: Lab) -> None:
    put(lab, *(("no_capable_pod", 10_000_000 - 10_000 * number, 10_000_000 - 10_000 * number - 1) for number in range(100)))
    assert await note(lab, "pod_capacity", lab.now_ms()) == 1
    found = lines(lab)
    assert len(found) == 100
    assert found[-1][0] == "pod_capacity"


async def test_a_call_notes_a_bounded_number_of_lanes(lab: Lab) -> None:
    notes = [(f"default/f{number}", "no_capable_pod", lab.now_ms()) for number in range(NOTES_PER_CALL + 10)]
    assert await lab.partition.backlog.note_waits(notes, 60) == NOTES_PER_CALL
    assert len([name for name in lab.raw() if name.startswith("waits:")]) == NOTES_PER_CALL


def test_notes_have_keys_of_their_own() -> None:
    assert Keys("pf", 3).waits("default/f") == "{pf:3}:waits:default/f"
