"""Places under one bound: never more than there are, and each partition gets its share."""

from __future__ import annotations

import pytest

from scheduler.room import Room


def fill(room: Room, partition: int, most: int) -> int:
    """Claims as a call does: reserves, takes what it got, settles."""
    reserved = room.reserve(partition, most)
    for _ in range(reserved):
        room.take(partition)
    room.settle(reserved)
    return reserved


def test_no_more_is_reserved_than_is_free() -> None:
    room = Room(5)
    assert room.reserve(0, 3) == 3
    assert room.reserve(1, 3) == 2
    assert (room.reserve(0, 1), room.free()) == (0, 0)
    room.settle(3)
    assert room.free() == 3


def test_a_place_that_is_vacated_is_free_again() -> None:
    room = Room(2)
    assert fill(room, 0, 64) == 2
    assert not room.has_room(0)
    room.vacate(0)
    assert room.has_room(0)
    assert fill(room, 0, 64) == 1


def test_a_hungry_partition_leaves_no_more_than_its_share_to_another() -> None:
    room = Room(4)
    assert fill(room, 0, 4) == 4
    assert not room.has_room(1)
    room.vacate(0)
    assert (room.reserve(0, 4), room.reserve(1, 4)) == (0, 1)


@pytest.mark.parametrize("capacity", [1, 2])
def test_every_partition_has_a_share_of_one_at_least(capacity: int) -> None:
    room = Room(capacity)
    room.has_room(0)
    fill(room, 0, capacity)
    assert [room.has_room(partition) for partition in (1, 2, 3)] == [False] * 3
    for _ in range(capacity):
        room.vacate(0)
    assert [room.has_room(partition) for partition in (1, 2, 3)] == [True] * 3


def test_who_waits_is_called_until_there_was_something_for_it() -> None:
    room, calls = Room(1), list[int]()
    for partition in (0, 1):
        room.call_when_fed(partition, lambda partition=partition: calls.append(partition))
    fill(room, 0, 1)
    room.has_room(1)
    room.feed()
    assert calls == []
    room.vacate(0)
    room.feed()
    room.feed()
    assert calls == [1, 1]
    fill(room, 1, 1)
    room.vacate(1)
    room.feed()
    assert calls == [1, 1]
