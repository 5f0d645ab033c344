"""Pods that die are started again later and later while they die often, and are given up where none gets ready."""

from __future__ import annotations

from peerflow.cli.restarts import CALM_SECONDS, LIMIT, LONGEST_SECONDS, Restarts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pause_doubles_while_pods_die_often_up_to_a_bound() -> None:
    restarts = Restarts(Clock())
    assert [restarts.add() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert LONGEST_SECONDS == 30


def test_pause_is_short_again_after_a_calm_minute() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    assert [restarts.add(), restarts.add()] == [0.5, 1]
    clock.now += CALM_SECONDS + 1
    assert restarts.add() == 0.5


def test_each_death_is_answered_with_one_start_when_it_is_due() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    assert restarts.seconds_to_next() is None
    restarts.add()
    restarts.add()
    assert (restarts.seconds_to_next(), restarts.take_due()) == (0.5, 0)
    clock.now += 0.5
    assert (restarts.take_due(), restarts.take_due()) == (1, 0)
    clock.now += 0.5
    assert (restarts.seconds_to_next(), restarts.take_due()) == (0, 1)
    assert restarts.seconds_to_next() is None


def test_failures_count_in_a_row() -> None:
    restarts = Restarts(Clock())
    assert not any(restarts.failed() for _ in range(LIMIT - 1))
    restarts.succeeded()
    assert [restarts.failed() for _ in range(LIMIT)] == [False] * (LIMIT - 1) + [True]


def test_reason_is_news_once_until_a_pod_was_ready() -> None:
    restarts = Restarts(Clock())
    assert [restarts.is_news(b"no"), restarts.is_news(b"no"), restarts.is_news(b"other")] == [True, False, True]
    restarts.succeeded()
    assert restarts.is_news(b"no")
