"""A call that is repeated must be answered as the first time; only what was taken back meanwhile may be missing."""

from __future__ import annotations

from typing import Any

import pytest

from peerflow.testing.trace import Trace

FIRST: list[Any] = ["OK", ["OK"], ["ref of a claim"], 0, [], 1]
WITHOUT_CLAIMS: list[Any] = ["OK", ["OK"], [], 0, []]
TOOK_ONE_BACK: list[Any] = ["OK", 1, 0, 500, 0, [], ["default/step 3"]]
TOOK_NOTHING: list[Any] = ["OK", 0, 0, 500, 0, [], []]
PUT_ONE_BACK: list[Any] = ["OK", [], [], 0, 1, 1_000]


def tell(trace: Trace, pod: str, name: str, answer: list[Any]) -> None:
    args = ["operation", pod, "digest", 1, "name", 0]
    trace.applied(trace.begin(pod, name, args), args, answer)


def told(*calls: tuple[str, str, list[Any]]) -> list[str]:
    trace = Trace()
    for pod, name, answer in calls:
        tell(trace, pod, name, answer)
    return trace.unequal


def test_the_same_answer_is_fine_and_one_without_its_claims_is_not() -> None:
    assert told(("p1", "commit", FIRST), ("p1", "commit", FIRST)) == []
    (problem,) = told(("p1", "commit", FIRST), ("p1", "commit", WITHOUT_CLAIMS))
    assert problem.startswith("S17: p1 commit#2 repeats a call")


@pytest.mark.parametrize(
    "taken_back", [("p2", "reap", TOOK_ONE_BACK), ("p1", "heartbeat", PUT_ONE_BACK)], ids=["by another's reaper", "by its own heartbeat"]
)
def test_claims_that_were_taken_back_may_be_missing_whoever_is_heard_first(taken_back: tuple[str, str, list[Any]]) -> None:
    assert told(("p1", "commit", FIRST), taken_back, ("p1", "commit", WITHOUT_CLAIMS)) == []
    assert told(("p1", "commit", FIRST), ("p1", "commit", WITHOUT_CLAIMS), taken_back) == []


@pytest.mark.parametrize(
    "other", [("p2", "reap", TOOK_NOTHING), ("p1", "reap", TOOK_ONE_BACK), ("p2", "heartbeat", PUT_ONE_BACK)],
    ids=["a reaper that found nothing", "its own reaper", "another's heartbeat"],
)  # fmt: skip
def test_nobody_else_excuses_it(other: tuple[str, str, list[Any]]) -> None:
    assert len(told(("p1", "commit", FIRST), other, ("p1", "commit", WITHOUT_CLAIMS))) == 1
    assert len(told(("p1", "commit", FIRST), ("p1", "commit", WITHOUT_CLAIMS), other)) == 1


@pytest.mark.parametrize("answer", [["OK", ["STALE"], [], 0, []], ["OK", ["OK"], ["another claim"], 0, []]], ids=["word", "claim"])
def test_another_word_or_another_claim_is_never_excused(answer: list[Any]) -> None:
    assert len(told(("p1", "commit", FIRST), ("p2", "reap", TOOK_ONE_BACK), ("p1", "commit", answer))) == 1
