"""The scripts, loaded from lua/ and called by name.

A script's header names the shared parts it uses (`-- USES prelude book …`, in that order); the loader puts them before its body. They are
sent by digest, and loaded when the server does not have them (any more): after a restart, a failover, `SCRIPT FLUSH`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Iterator
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, cast

from redis.exceptions import NoScriptError

from engine.observer import OnCall

LUA = Path(__file__).parent / "lua"
NAMES = (
    "create_run",
    "stage_run",
    "claim",
    "commit",
    "pass_on",
    "sweep",
    "heartbeat",
    "reap",
    "release",
    "fire_timers",
    "audit",
    "restore",
    "repair",
    "cancel",
    "begin_effect",
    "confirm_effect",
    "heads",
    "note_waits",
    "append_log",
    "rights",
    "take_token",
)

Argument = str | bytes | int
Answer = list[Any]
"""A word, then what the script's header says."""


class AsyncClient(Protocol):
    """The two calls of a redis-py client that scripts need."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Any: ...

    def script_load(self, script: str) -> Any: ...


@cache
def source(name: str) -> str:
    """The complete text of script `name` as the server gets it: shebang, shared parts, body."""
    text = (LUA / f"{name}.lua").read_text(encoding="utf-8")
    shebang, body = text.split("\n", 1)
    uses = re.search(r"^-- USES (.+)$", body, re.MULTILINE)
    parts = [(LUA / "lib" / f"{part}.lua").read_text(encoding="utf-8") for part in (uses.group(1).split() if uses else ())]
    return "\n".join([shebang, *map(without_comments, parts), without_comments(body)])


def without_comments(lua: str) -> str:
    """Drops whole-line comments: the server keeps each script's text in memory."""
    return "\n".join(line for line in lua.splitlines() if line and not line.lstrip().startswith("--"))


@cache
def digest(name: str) -> str:
    """SHA-1 hex of the script, by which Redis knows it."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


async def call(client: AsyncClient, name: str, prefix: str, *args: Argument) -> Answer:
    """Calls a script once; where the server does not know it, loads it and calls again (nothing had been applied).

    Every script call of the loops and of the API passes here: a client's `on_call` hears of each.
    """
    on_call: OnCall | None = getattr(client, "on_call", None)
    started, answered = perf_counter() if on_call else 0.0, False
    try:
        try:
            answer = await cast("Awaitable[Answer]", client.evalsha(digest(name), 1, prefix, *args))
        except NoScriptError:
            await client.script_load(source(name))
            answer = await cast("Awaitable[Answer]", client.evalsha(digest(name), 1, prefix, *args))
        answered = True
        return answer
    finally:
        if on_call:
            on_call(name, perf_counter() - started, answered)


def call_blocking(client: AsyncClient, name: str, prefix: str, *args: Argument) -> Answer:
    """`call` for a blocking client, as the heartbeat thread has one."""
    on_call: OnCall | None = getattr(client, "on_call", None)
    started, answered = perf_counter(), False
    try:
        try:
            answer = cast("Answer", client.evalsha(digest(name), 1, prefix, *args))
        except NoScriptError:
            client.script_load(source(name))
            answer = cast("Answer", client.evalsha(digest(name), 1, prefix, *args))
        answered = True
        return answer
    finally:
        if on_call:
            on_call(name, perf_counter() - started, answered)


def observe_calls(client: object, on_call: OnCall) -> None:
    """From now on `on_call` hears of each script call on this client, whatever kind of client it is."""
    client.on_call = on_call  # pyright: ignore[reportAttributeAccessIssue]


def all_scripts() -> Iterator[tuple[str, str]]:
    """Name and text of every script, for loading at start and for checks."""
    for name in NAMES:
        yield name, source(name)
