"""What a task waited for follows from what happened to it: nothing is counted twice and nothing is left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.explain import AFTER, NOTE_SLACK_MS, Interval, Mark, Note, intervals, now_is, span, summary, totals, with_notes
from engine.reasons import Reason
from tests.support.markdown import ROOT

BORN = 1_000


def told(parts: list[Interval]) -> list[tuple[str, int, int | None]]:
    return [(part.reason.value, part.from_ms, part.to_ms) for part in parts]


def life(*steps: tuple[int, str], run_ended: int | None = None) -> list[tuple[str, int, int | None]]:
    return told(intervals(BORN, [Mark(at, kind, 1, "p") for at, kind in steps], run_ended))


def test_a_task_waits_for_parents_then_in_the_queue_then_runs() -> None:
    assert life((1_500, "ready"), (1_700, "started"), (2_000, "succeeded")) == [
        ("parents", 1_000, 1_500),
        ("queued", 1_500, 1_700),
        ("running", 1_700, 2_000),
    ]


def test_the_last_interval_is_open_until_the_task_has_ended() -> None:
    assert life() == [("parents", 1_000, None)]
    assert life((1_000, "ready")) == [("queued", 1_000, None)]
    assert life((1_000, "ready"), (1_100, "started")) == [("queued", 1_000, 1_100), ("running", 1_100, None)]


def test_a_failed_attempt_is_followed_by_its_backoff_and_a_lost_one_by_the_queue() -> None:
    steps = [
        (1_000, "ready"),
        (1_010, "started"),
        (1_020, "retry"),
        (3_020, "ready"),
        (3_030, "started"),
        (4_000, "lost"),
        (4_000, "ready"),
    ]
    assert life(*steps) == [
        ("queued", 1_000, 1_010),
        ("running", 1_010, 1_020),
        ("retry_at", 1_020, 3_020),
        ("queued", 3_020, 3_030),
        ("running", 3_030, 4_000),
        ("queued", 4_000, None),
    ]


@pytest.mark.parametrize("kind", ["released", "unheard"])
def test_a_claim_that_was_given_back_waits_in_the_queue_again(kind: str) -> None:
    assert life((1_000, "ready"), (1_010, "started"), (1_500, kind), (1_500, "ready"), (1_600, "started")) == [
        ("queued", 1_000, 1_010),
        ("running", 1_010, 1_500),
        ("queued", 1_500, 1_600),
        ("running", 1_600, None),
    ]


def test_a_task_sleeps_between_its_start_and_its_end() -> None:
    assert life((1_000, "ready"), (1_001, "started"), (1_002, "sleep"), (9_000, "succeeded"))[-1] == ("sleeps_until", 1_002, 9_000)


def test_a_task_ends_with_its_run() -> None:
    assert life((1_200, "ready"), run_ended=1_900) == [("parents", 1_000, 1_200), ("queued", 1_200, 1_900)]
    assert life((1_200, "ready"), (1_300, "started"), (2_500, "cancelled"), run_ended=1_900)[-1] == ("running", 1_300, 1_900)


def test_a_skipped_task_waited_for_parents_alone() -> None:
    assert life((1_400, "skipped")) == [("parents", 1_000, 1_400)]


def test_only_what_runs_or_has_run_names_its_attempt() -> None:
    parts = intervals(BORN, [Mark(1_100, "ready"), Mark(1_200, "started", 2, "p7"), Mark(1_300, "retry", 2, "p7")])
    assert [(part.attempt, part.pod) for part in parts] == [(None, None), (None, None), (2, "p7"), (2, None)]


def test_events_of_a_newer_version_change_nothing() -> None:
    assert life((1_100, "ready"), (1_150, "polished"), (1_200, "started")) == life((1_100, "ready"), (1_200, "started"))


def test_a_clock_that_went_back_makes_no_interval_negative() -> None:
    assert life((5_000, "ready"), (4_000, "started"), (6_000, "succeeded")) == [("parents", 1_000, 5_000), ("running", 5_000, 6_000)]


MARKS = st.lists(
    st.tuples(st.integers(0, 50_000), st.sampled_from([*AFTER, "polished"]), st.integers(1, 5)).map(
        lambda made: Mark(made[0], made[1], made[2], "p")
    )
)
SPANS = st.lists(st.tuples(st.integers(0, 8_000), st.integers(1, 8_000), st.sampled_from(list(Reason)[3:7])), max_size=8)


def notes_of(spans: list[tuple[int, int, Reason]]) -> list[Note]:
    """In order, and without overlaps: as they are stored."""
    found: list[Note] = []
    at = 0
    for gap, length, reason in spans:
        found.append(Note(reason, at + gap, at + gap + length))
        at += gap + length
    return found


def assert_whole(parts: list[Interval], end: int | None) -> None:
    """From the creation to the end (None: still going on) without gaps or overlaps."""
    at: int | None = BORN
    for part in parts:
        assert part.from_ms == at
        assert part.to_ms is None or part.to_ms > part.from_ms
        at = part.to_ms
    assert at == end


@given(MARKS, st.one_of(st.none(), st.integers(BORN, 60_000)), SPANS, SPANS)
def test_intervals_are_in_order_disjoint_and_whole(
    marks: list[Mark], run_ended: int | None, lane: list[tuple[int, int, Reason]], everywhere: list[tuple[int, int, Reason]]
) -> None:
    parts = intervals(BORN, marks, run_ended)
    end = parts[-1].to_ms if parts else BORN
    if not any(AFTER.get(mark.kind) is Reason.ENDED for mark in marks):
        assert end == run_ended or (run_ended == BORN and not parts)
    assert_whole(parts, end)
    noted = with_notes(parts, notes_of(lane), notes_of(everywhere), now_ms=100_000)
    assert_whole(noted, end)
    assert sum(part.length_ms(100_000) for part in noted) == sum(part.length_ms(100_000) for part in parts)
    assert [part for part in noted if part.reason in {Reason.RUNNING, Reason.PARENTS}] == [
        part for part in parts if part.reason in {Reason.RUNNING, Reason.PARENTS}
    ]
    assert_whole(now_is(noted, Reason.POD_CAPACITY), end)


QUEUE = [Interval(Reason.QUEUED, 10_000, 20_000)]


def noted(*notes: Note, parts: list[Interval] = QUEUE, now: int = 100_000) -> list[tuple[str, int, int | None]]:
    return told(with_notes(parts, notes, now_ms=now))


def test_notes_tell_stretches_of_the_queue_apart() -> None:
    assert noted(Note(Reason.NO_CAPABLE_POD, 5_000, 12_000), Note(Reason.POD_CAPACITY, 15_000, 30_000)) == [
        ("no_capable_pod", 10_000, 12_000),
        ("queued", 12_000, 15_000),
        ("pod_capacity", 15_000, 20_000),
    ]


def test_what_was_noted_just_before_the_wait_ended_lasted_until_then() -> None:
    assert noted(Note(Reason.NO_CAPABLE_POD, 10_000, 20_000 - NOTE_SLACK_MS)) == [("no_capable_pod", 10_000, 20_000)]
    assert noted(Note(Reason.NO_CAPABLE_POD, 10_000, 19_999 - NOTE_SLACK_MS))[-1] == ("queued", 19_999 - NOTE_SLACK_MS, 20_000)


def test_an_outage_is_over_when_it_is_noted() -> None:
    assert noted(Note(Reason.STORAGE, 10_000, 19_000)) == [("storage", 10_000, 19_000), ("queued", 19_000, 20_000)]


def test_what_was_noted_before_a_task_was_ready_says_nothing_of_it() -> None:
    assert noted(Note(Reason.NO_CAPABLE_POD, 1_000, 9_000)) == told(QUEUE)
    assert noted(Note(Reason.NO_CAPABLE_POD, 1_000, 10_000)) == told(QUEUE)
    assert noted(Note(Reason.NO_CAPABLE_POD, 25_000, 29_000)) == told(QUEUE)


def test_an_outage_hides_what_the_lane_says() -> None:
    found = with_notes(QUEUE, [Note(Reason.POD_CAPACITY, 0, 30_000)], [Note(Reason.STORAGE, 12_000, 14_000)], now_ms=50_000)
    assert told(found) == [("pod_capacity", 10_000, 12_000), ("storage", 12_000, 14_000), ("pod_capacity", 14_000, 20_000)]


def test_an_open_wait_stays_open_behind_its_notes() -> None:
    waits = [Interval(Reason.QUEUED, 10_000, None)]
    found = noted(Note(Reason.NO_CAPABLE_POD, 10_000, 12_000), parts=waits, now=13_000)
    assert found == [("no_capable_pod", 10_000, 13_000), ("queued", 13_000, None)]


def test_what_holds_now_and_was_noted_is_one_interval() -> None:
    waits = with_notes([Interval(Reason.QUEUED, 10_000, None)], [Note(Reason.NO_CAPABLE_POD, 10_000, 12_000)], now_ms=13_000)
    assert told(now_is(waits, Reason.NO_CAPABLE_POD)) == [("no_capable_pod", 10_000, None)]
    assert told(now_is(waits, Reason.POD_CAPACITY)) == [("no_capable_pod", 10_000, 13_000), ("pod_capacity", 13_000, None)]
    ran = [Interval(Reason.RUNNING, 10_000, None)]
    assert now_is(ran, Reason.POD_CAPACITY) == ran


def test_a_summary_names_the_longest_wait_first() -> None:
    parts = [
        Interval(Reason.PARENTS, 0, 22_000),
        Interval(Reason.NO_CAPABLE_POD, 22_000, 312_000),
        Interval(Reason.RUNNING, 312_000, 999_000),
    ]
    assert summary(totals(parts, 0), "X", "default") == "waited 312 s: 290 s for a pod that registers X, 22 s for parents"
    assert summary(totals(parts[:1], 0), "X", "default") == "waited 22 s for parents"
    assert summary({}, "X", "default") == "has not waited"
    assert summary({Reason.NO_CAPABLE_POD: 40}, "X", "gpu") == "waited 40 ms for a pod that registers X and serves queue gpu"


def test_a_summary_of_many_reasons_says_how_long_the_rest_is() -> None:
    sums = {reason: 60_000 - 1_000 * number for number, reason in enumerate(list(Reason)[:6])}
    assert summary(sums, "X", "default").endswith("57 s for a free slot".replace("a free slot", "a pod that registers X") + ", 111 s other")


def test_an_open_wait_counts_up_to_now() -> None:
    assert totals([Interval(Reason.QUEUED, 1_000, None)], 4_500) == {Reason.QUEUED: 3_500}


@pytest.mark.parametrize(
    ("length", "text"), [(0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (9_949, "9.9 s"), (9_950, "10 s"), (312_400, "312 s")]
)
def test_lengths_are_short(length: int, text: str) -> None:
    assert span(length) == text


def test_every_reason_has_its_sentence_and_its_words_in_a_sum() -> None:
    source = (ROOT / "engine" / "reasons.py").read_text()
    for reason in Reason:
        assert re.search(rf'{reason.name} = "{reason.value}"\n    """{re.escape(reason.sentence)}"""', source), reason
        assert "{" not in reason.sum_phrase("f", "q")
    assert [reason for reason in Reason if not reason.waits] == [Reason.RUNNING, Reason.ENDED]
