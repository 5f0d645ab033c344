"""Who is believed to be the primary: by what epoch, of how many, for how long."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from storage import topology
from storage.server_url import Address
from storage.topology import LAST_SLOT, Route, Told, Topology
from tests.support.waiting import wait_until

A, B, C = ("a", 1), ("b", 1), ("c", 1)
OLD, NEW = ("old", 2), ("new", 2)


class Nodes:
    """What nodes would say; those that are not in `words` are away."""

    seeds: tuple[Address, ...] = (A, B, C)
    checks_role = True

    def __init__(self) -> None:
        self.words: dict[Address, Told] = {}
        self.asked: list[Address] = []
        self.closed = False

    def say(self, epoch: int, primary: Address, *nodes: Address) -> None:
        for node in nodes:
            self.words[node] = Told(epoch, ((0, LAST_SLOT, primary),))

    def ask(self, node: Address) -> Told | None:
        self.asked.append(node)
        if node not in self.words:
            raise OSError(f"{node[0]} is away")
        return self.words[node]

    def close(self) -> None:
        self.closed = True


class Follower:
    """A connection, to `OLD`."""

    def __init__(self, route: Route) -> None:
        self._route, self.left = route, False

    def leave_if_moved(self) -> None:
        self.left = self.left or self._route.leads_elsewhere(OLD)


@pytest.fixture
def nodes() -> Nodes:
    nodes = Nodes()
    nodes.say(1, OLD, A, B, C)
    return nodes


@pytest.fixture
def map_of(nodes: Nodes) -> Generator[Topology]:
    found = Topology(nodes)
    yield found
    found.close()
    assert nodes.closed


def test_a_majority_is_asked_and_the_highest_epoch_believed(nodes: Nodes, map_of: Topology) -> None:
    nodes.say(2, NEW, B)
    assert map_of.find(0) == NEW
    assert nodes.asked == [A, B]


def test_connections_that_are_opened_at_once_share_one_question(nodes: Nodes, map_of: Topology) -> None:
    assert [map_of.find(slot) for slot in range(5)] == [OLD] * 5
    assert nodes.asked == [A, B]


def test_one_that_is_away_is_asked_last_from_then_on(nodes: Nodes, map_of: Topology) -> None:
    del nodes.words[A]
    map_of.look(0)
    map_of.look(0)
    assert nodes.asked == [A, B, C, B, C]


def test_a_minority_that_has_slept_through_a_failover_is_not_believed(nodes: Nodes, map_of: Topology) -> None:
    nodes.say(2, NEW, A, B)
    map_of.look(0)
    nodes.words = {C: Told(1, ((0, LAST_SLOT, OLD),))}
    map_of.look(0)
    assert map_of.find(0) == NEW


def test_a_majority_is_believed_also_with_a_lower_epoch_as_after_a_reset(nodes: Nodes, map_of: Topology) -> None:
    nodes.say(7, NEW, A, B, C)
    map_of.look(0)
    nodes.say(0, OLD, A, B, C)
    map_of.look(0)
    assert map_of.find(0) == OLD


def test_what_was_known_lasts_while_all_are_away_and_without_it_the_error_says_who_was_asked(nodes: Nodes, map_of: Topology) -> None:
    words, nodes.words = nodes.words, {}
    with pytest.raises(RedisConnectionError, match="none of a:1, b:1, c:1 names a primary: c is away"):
        map_of.find(0)
    nodes.words = words
    map_of.look(0)
    nodes.words = {}
    map_of.look(0)
    assert map_of.find(0) == OLD


def test_a_slot_that_a_node_says_has_moved_is_believed_until_others_have_had_time_to_hear_of_it(
    nodes: Nodes, map_of: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    map_of.look(0)
    map_of.learn(5, NEW)
    map_of.look(0)
    assert [map_of.primary_of(4), map_of.primary_of(5)] == [OLD, NEW]
    assert [Route(map_of, slot).leads_elsewhere(OLD) for slot in (4, 5)] == [False, True]
    monkeypatch.setattr(topology, "LOOK_SECONDS", 0.0)
    map_of.look(0)
    assert map_of.primary_of(5) == OLD


def test_connections_leave_a_server_that_was_replaced(nodes: Nodes, map_of: Topology) -> None:
    follower = Follower(Route(map_of))
    map_of.find(0)
    map_of.watch(follower)
    map_of.look(0)
    assert not follower.left
    nodes.say(2, NEW, A, B, C)
    map_of.look(0)
    assert follower.left


def test_who_makes_calls_has_others_asked_in_the_background(nodes: Nodes, map_of: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    map_of.find(0)
    map_of.keep_fresh()
    nodes.say(2, NEW, A, B, C)
    monkeypatch.setattr(topology, "LOOK_SECONDS", 0.05)
    wait_until(lambda: map_of.keep_fresh() or map_of.primary_of(0) == NEW, "the new primary is known")


def test_a_server_that_does_not_behave_as_a_primary_is_asked_after_at_once(nodes: Nodes, map_of: Topology) -> None:
    map_of.find(0)
    nodes.say(2, NEW, A, B, C)
    assert map_of.find(0) == OLD
    map_of.doubt()
    assert map_of.find(0) == NEW


def test_nobody_is_asked_after_the_end(nodes: Nodes, map_of: Topology) -> None:
    map_of.find(0)
    map_of.close()
    map_of.look(0)
    map_of.keep_fresh()
    assert nodes.asked == [A, B]
