"""Partitions on several servers: one that is away costs no lease in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from engine.errors import StorageUnavailable
from engine.observer import NoObserver
from scheduler.heart import Description, Heart
from storage.heartbeats import Pulse
from storage.partition import Identity
from tests.support.bench import Recorder


class Connection:
    def __init__(self, *, away: bool = False) -> None:
        self.away, self.beats, self.dropped, self.described = away, 0, 0, 0

    def beat(self, who: Identity, refs: Sequence[str], *, unheard_before_ms: int, capabilities: str, description: str) -> Pulse:
        del who, refs, unheard_before_ms, capabilities
        self.beats += 1
        self.described += bool(description)
        if self.away:
            raise StorageUnavailable("redis://h", "away")
        return Pulse("OK", [], [], 0, 0, 1)

    def disconnect(self) -> None:
        self.dropped += 1


def heart(connections: Sequence[Connection], *, apart: bool) -> Heart:
    those: Any = connections
    return Heart(
        those,
        Identity("pod", "digest", 2_000),
        address="redis://h",
        refs=lambda _: [],
        describe=lambda: Description("capabilities", "text"),
        on_pulse=lambda _, __: None,
        on_back=lambda _: None,
        unheard_seconds=1,
        publisher=Recorder(),
        observer=NoObserver(),
        apart=apart,
    )


@pytest.mark.parametrize(
    ("apart", "beats", "dropped"),
    [(True, [1, 1, 1, 1], [0, 1, 0, 0]), (False, [1, 1, 0, 0], [1, 2, 1, 1])],
    ids=["several servers", "one server"],
)
def test_a_partition_that_does_not_answer_keeps_others_from_their_beat_only_where_it_shares_their_server(
    apart: bool, beats: list[int], dropped: list[int]
) -> None:
    connections = [Connection(away=number == 1) for number in range(4)]
    beating = heart(connections, apart=apart)
    assert not beating.run_once()
    assert beating.failing is not apart
    assert (beating.last_heard is not None, beating.last_ok) == (apart, None)
    assert [connection.beats for connection in connections] == beats
    assert [connection.dropped for connection in connections] == dropped


@pytest.mark.parametrize("apart", [True, False])
def test_what_the_pod_is_is_said_in_all_partitions_until_all_have_heard_it(apart: bool) -> None:
    connections = [Connection(), Connection(away=True)]
    beating = heart(connections, apart=apart)
    assert not beating.run_once()
    connections[1].away = False
    assert [beating.run_once(), beating.run_once()] == [True, True]
    assert [connection.described for connection in connections] == [2, 2]
    assert not beating.failing


def test_storage_fails_where_none_of_several_servers_answers() -> None:
    connections = [Connection(away=True), Connection(away=True)]
    beating = heart(connections, apart=True)
    assert not beating.run_once()
    assert (beating.failing, beating.last_heard) == (True, None)
    connections[0].away = False
    assert not beating.run_once()
    assert not beating.failing
    assert [connection.beats for connection in connections] == [2, 2]
