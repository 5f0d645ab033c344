"""Every key of a partition shares one hash tag, and is in the table."""

from __future__ import annotations

import pytest

from storage.keys import Keys, idempotency_digest, layout_key
from tests.support.lua_source import KEYS


def test_all_keys_of_a_partition_carry_its_hash_tag() -> None:
    keys = Keys("ns", 3)
    names = [keys.run("r"), keys.tasks("r"), keys.events("r"), keys.attempts("r"), keys.graph("r"), keys.runs, keys.pods, keys.pod("p"),
             keys.claims("p"), keys.inbox("p"), keys.timers, keys.counters]  # fmt: skip
    assert all(name.startswith("{ns:3}:") for name in names)
    assert len(set(names)) == len(names)


def test_every_key_that_python_builds_is_in_the_table() -> None:
    keys = Keys("ns", 0)
    built = [keys.run("<id>"), keys.tasks("<id>"), keys.events("<id>"), keys.attempts("<id>"), keys.graph("<id>"), keys.runs, keys.pods,
             keys.pod("<pod>"), keys.claims("<pod>"), keys.inbox("<pod>"), keys.timers, keys.counters]  # fmt: skip
    assert {name.removeprefix(keys.prefix) for name in built} <= KEYS


def test_the_layout_is_outside_of_all_partitions() -> None:
    assert layout_key("ns") == "{ns}:layout"


@pytest.mark.parametrize("key", ["", "k", "a b\r\n{x}", "ü" * 10_000])
def test_an_idempotency_key_becomes_thirty_two_hex_digits(key: str) -> None:
    assert len(idempotency_digest(key)) == 32
    assert set(idempotency_digest(key)) <= set("0123456789abcdef")


def test_different_idempotency_keys_have_different_digests() -> None:
    assert len({idempotency_digest(f"k{number}") for number in range(1000)}) == 1000
