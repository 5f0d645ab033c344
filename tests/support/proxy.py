"""A TCP proxy in front of a server that understands each command: it counts them, and loses, delays or forges what a test says.

It listens on loopback (in a container of its own, on all addresses), in a thread of its own, so that the processes and threads that a
test starts can use it. Rules are looked at in the order in which they were made; the first that wants a command gets it.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from storage.scripts import NAMES, digest
from tests.support.resp import Value, error, read_value

SCRIPTS = {digest(name).encode(): name for name in NAMES}
Direction = Literal["to_server", "to_client"]
T = TypeVar("T")
GONE = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class Cut:
    """Closes the connection: before the server gets the command, or after it has answered, so that only the answer is lost."""

    when: Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Late:
    """Closes the connection; the server gets the command when the test calls `deliver_late`, as when TCP sends it once more."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The server gets the command `seconds` after it was sent, and up to `jitter` seconds more; pipelined commands wait together."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The client gets this error, the server nothing."""

    text: str


Fault = Cut | Late | Delay | Reply


@dataclass(slots=True)
class Rule:
    """What happens to commands of that name: script names for EVALSHA, else the command in capitals; None for every command."""

    fault: Fault
    name: str | None
    after: int
    """So many commands of that name pass first."""
    times: int | None
    """So many meet the fault; None for all."""
    chance: float
    seen: int = 0
    hits: int = 0

    def wants(self, name: str, source: random.Random) -> bool:
        if self.name not in {None, name} or (self.times is not None and self.hits >= self.times):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.chance < 1 and source.random() >= self.chance):
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class Connection:
    """One client's connection and the one to the server that belongs to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter
    commands: asyncio.Queue[tuple[Value, float] | None] = field(default_factory=asyncio.Queue[tuple[Value, float] | None])
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has closed."""


class Proxy:
    """`url` leads to the server behind `upstream` (redis:// or unix://). Methods may be called from any thread."""

    def __init__(self, upstream: str, *, seed: int = 0, host: str = "127.0.0.1", port: int = 0) -> None:
        self._upstream, self._host = urlsplit(upstream), host
        self._random = random.Random(seed)
        self.port = port
        self._rules: list[Rule] = []
        self.counts: Counter[str] = Counter()
        """Commands that clients have sent, by name."""
        self._late: list[Value] = []
        self._connections: dict[asyncio.Task[Any], Connection] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the proxy does not listen")

    @property
    def url(self) -> str:
        database = "" if self._upstream.scheme == "unix" else self._upstream.path
        who = f"{self._upstream.username}:{self._upstream.password}@" if self._upstream.username else ""
        return f"redis://{who}127.0.0.1:{self.port}{database}"

    def on(self, name: str | None, fault: Fault, *, after: int = 0, times: int | None = 1, chance: float = 1.0) -> Rule:
        """Plans a fault; the rule that is answered counts how often it was met."""
        rule = Rule(fault, name, after, times, chance)
        self._rules.append(rule)
        return rule

    def hold(self, *directions: Direction) -> None:
        """A black hole: connections stay open, and what is sent in these directions (both by default) waits for `heal`."""
        self._in_loop(self._set_open, directions or ("to_server", "to_client"), False)

    def heal(self) -> None:
        """No rule is left, nothing is held; what was held goes on its way, as far as its connection still stands."""
        self._rules.clear()
        self._in_loop(self._set_open, ("to_server", "to_client"), True)

    def cut_all(self) -> None:
        """Closes every connection; new ones are taken."""
        self._in_loop(self._close_clients)

    def deliver_late(self) -> int:
        """Sends the server, on a connection of its own, what `Late` kept back. Answers how many commands those were."""
        late, self._late = self._late, []
        asyncio.run_coroutine_threadsafe(self._deliver(late), self._loop).result(20)
        return len(late)

    def close(self) -> None:
        self._in_loop(self._stop.set)
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _in_loop(self, function: Callable[..., None], *args: object) -> None:
        """Calls it in the proxy's thread, and returns when it is done."""

        async def call() -> None:
            function(*args)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._gates = {"to_server": asyncio.Event(), "to_client": asyncio.Event()}
        self._set_open(("to_server", "to_client"), open_=True)
        server = await asyncio.start_server(self._accept, self._host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _set_open(self, directions: tuple[Direction, ...], open_: bool) -> None:
        for direction in directions:
            (self._gates[direction].set if open_ else self._gates[direction].clear)()

    def _close_clients(self) -> None:
        for connection in self._connections.values():
            connection.writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            connection = Connection(reader, writer, *await self._connect())
        except OSError:
            await _closed(writer)
            return
        self._connections[task] = connection
        listening = asyncio.create_task(_listen(connection))
        try:
            await self._serve(connection)
        except (*GONE, asyncio.CancelledError):
            pass
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await _closed(writer)
            await _closed(connection.up_writer)
            del self._connections[task]

    async def _serve(self, connection: Connection) -> None:
        """Passes commands one by one: the next one follows when the reply is through, or the client has left."""
        while (item := await connection.commands.get()) is not None:
            command, sent_at = item
            name = name_of(command)
            self.counts[name] += 1
            rule = next((rule for rule in list(self._rules) if rule.wants(name, self._random)), None)
            match rule.fault if rule else None:
                case Cut("before"):
                    return
                case Late():
                    self._late.append(command)
                    return
                case Reply(text):
                    await self._answer(connection, error(text))
                case Cut("after"):
                    await self._ask(connection, command)
                    return
                case Delay(seconds, jitter):
                    due = sent_at + seconds + jitter * self._random.random()
                    await asyncio.sleep(due - self._loop.time())
                    await self._pass(connection, command)
                case _:
                    await self._pass(connection, command)

    async def _pass(self, connection: Connection, command: Value) -> None:
        reply = await self._ask(connection, command)
        if reply is not None:
            await self._answer(connection, reply.raw)

    async def _ask(self, connection: Connection, command: Value) -> Value | None:
        """The server's reply; None where the client left without waiting for it. What it had sent before is still delivered."""
        await self._gates["to_server"].wait()
        connection.up_writer.write(command.raw)
        await connection.up_writer.drain()
        return await _unless_left(connection, read_value(connection.up_reader))

    async def _answer(self, connection: Connection, reply: bytes) -> None:
        if await _unless_left(connection, self._gates["to_client"].wait()):
            connection.writer.write(reply)
            await connection.writer.drain()

    async def _deliver(self, late: list[Value]) -> None:
        reader, writer = await self._connect()
        for command in late:
            writer.write(command.raw)
            await read_value(reader)
        await _closed(writer)


def name_of(command: Value) -> str:
    """`claim` for an EVALSHA of that script; otherwise the command in capitals, such as `BLPOP`."""
    word = command.words[0].upper().decode()
    return SCRIPTS.get(command.words[1], word) if word == "EVALSHA" else word


async def _listen(connection: Connection) -> None:
    """Reads ahead, so that a client that leaves is noticed while its command is under way."""
    loop = asyncio.get_running_loop()
    with suppress(*GONE):
        while True:
            connection.commands.put_nowait((await read_value(connection.reader), loop.time()))
    connection.left.set()
    connection.commands.put_nowait(None)


async def _unless_left(connection: Connection, work: Coroutine[Any, Any, T]) -> T | None:
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(connection.left.wait())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
