"""Which client gets a call, by its key; and that answers of a pipeline over several come in the order of its commands."""

from __future__ import annotations

from typing import Any

import pytest

from storage.server_url import Address
from storage.spread_client import SpreadClient, slot_of
from storage.topology import Route, Told, Topology


class Nobody:
    seeds: tuple[Address, ...] = ()
    checks_role = False

    def ask(self, node: Address) -> Told | None:
        raise OSError(node)

    def close(self) -> None:
        return


class Client:
    """Answers each call with its slot and what it was asked."""

    def __init__(self, slot: int, failing: set[int]) -> None:
        self.slot, self._failing, self.closed, self._commands = slot, failing, False, list[tuple[Any, ...]]()

    async def hget(self, *args: str) -> tuple[Any, ...]:
        return (self.slot, "hget", *args)

    async def evalsha(self, *args: Any) -> tuple[Any, ...]:
        return (self.slot, "evalsha", *args)

    async def blpop(self, keys: list[str], timeout: float) -> tuple[Any, ...]:
        return (self.slot, "blpop", *keys, timeout)

    async def xread(self, streams: dict[str, str], count: int) -> tuple[Any, ...]:
        return (self.slot, "xread", *streams, count)

    async def script_load(self, script: str) -> str:
        if self.slot in self._failing:
            raise OSError("away")
        return script

    async def aclose(self) -> None:
        self.closed = True

    def pipeline(self, *, transaction: bool) -> Client:
        del transaction
        return Client(self.slot, self._failing)

    def __len__(self) -> int:
        return len(self._commands)

    def get(self, *args: str) -> None:
        self._commands.append((self.slot, "get", *args))

    def time(self) -> None:
        self._commands.append((self.slot, "time"))

    def execute_command(self, *args: Any, **options: Any) -> None:
        self._commands.append((self.slot, *args, options))

    async def execute(self) -> list[tuple[Any, ...]]:
        if self.slot in self._failing:
            raise OSError("away")
        return self._commands


A, B = slot_of("{pf:0}"), slot_of("{pf:1}")


class Bench:
    def __init__(self) -> None:
        self.opened: list[Client] = []
        self.failing: set[int] = set()
        self.client = SpreadClient(Topology(Nobody()), self._open)

    def _open(self, route: Route) -> Any:
        self.opened.append(Client(route.slot, self.failing))
        return self.opened[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_slot_is_that_of_the_hash_tag() -> None:
    assert slot_of("{pf:0}:run:1") == slot_of("{pf:0}:") == slot_of("pf:0")
    assert slot_of("foo") == 12182


async def test_a_call_goes_to_the_client_of_its_keys_tag_and_there_is_one_for_each_tag(bench: Bench) -> None:
    assert await bench.client.hget("{pf:0}:a", "field") == (A, "hget", "{pf:0}:a", "field")
    assert await bench.client.evalsha("sha", 1, "{pf:1}:", "arg") == (B, "evalsha", "sha", 1, "{pf:1}:", "arg")
    assert await bench.client.blpop(["{pf:0}:inbox"], timeout=3) == (A, "blpop", "{pf:0}:inbox", 3)
    assert await bench.client.xread(streams={"{pf:1}:s": "0"}, count=2) == (B, "xread", "{pf:1}:s", 2)
    assert await bench.client.xread({"{pf:0}:s": "0"}, count=2) == (A, "xread", "{pf:0}:s", 2)
    assert [client.slot for client in bench.opened] == [A, B]


async def test_the_answers_of_a_pipeline_come_in_the_order_of_its_commands(bench: Bench) -> None:
    pipeline = bench.client.pipeline(transaction=False)
    pipeline.time()
    pipeline.get("{pf:1}:x")
    pipeline.get("{pf:0}:y")
    pipeline.execute_command("LRANGE", "{pf:1}:z", 0, NEVER_DECODE=True)
    assert await pipeline.execute() == [
        (B, "time"),
        (B, "get", "{pf:1}:x"),
        (A, "get", "{pf:0}:y"),
        (B, "LRANGE", "{pf:1}:z", 0, {"NEVER_DECODE": True}),
    ]
    assert await pipeline.execute() == []


async def test_a_pipeline_that_names_no_key_goes_to_anybody(bench: Bench) -> None:
    await bench.client.hget("{pf:1}:a", "field")
    assert await bench.client.pipeline(transaction=False).time().execute() == [(B, "time")]


async def test_a_pipeline_fails_where_one_of_its_servers_does(bench: Bench) -> None:
    bench.failing.add(B)
    pipeline = bench.client.pipeline(transaction=False).get("{pf:0}:a").get("{pf:1}:b")
    with pytest.raises(OSError, match="away"):
        await pipeline.execute()


async def test_a_transaction_is_for_one_partition(bench: Bench) -> None:
    await bench.client.pipeline(transaction=True).get("{pf:0}:a").get("{pf:0}:b").execute()
    with pytest.raises(ValueError, match="several partitions"):
        await bench.client.pipeline(transaction=True).get("{pf:0}:a").get("{pf:1}:b").execute()


async def test_a_script_is_loaded_wherever_somebody_answers(bench: Bench) -> None:
    for key in ("{pf:0}:a", "{pf:1}:b"):
        await bench.client.hget(key, "field")
    bench.failing.add(A)
    assert await bench.client.script_load("text") == "text"
    bench.failing.add(B)
    with pytest.raises(OSError, match="away"):
        await bench.client.script_load("text")


async def test_all_clients_are_closed(bench: Bench) -> None:
    for key in ("{pf:0}:a", "{pf:1}:b"):
        await bench.client.hget(key, "field")
    await bench.client.aclose()
    assert [client.closed for client in bench.opened] == [True, True]
