"""Rules for scripts that need their syntax: checks before writes on every path, keys of the table and their types, bounds, allowed names.

Each rule has planted violations that it finds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.scripts import LUA
from tests.support.lua_lint import foreign_names, unbounded, unknown_commands, unknown_keys
from tests.support.lua_order import Order
from tests.support.lua_source import Source, scripts
from tests.support.lua_tree import Program

WAKING = {"wake: ZREVRANGE", "wake_group: GET"}
TOLD = {"tell_everyone: ZRANGE"}
# Waking comes last, and no run depends on it: a pod that is not told looks for itself.
LATE: dict[str, tuple[set[str], str]] = {
    "create_run": (
        WAKING | TOLD | {"open_run: HMGET", "load_edges: HMGET", "record_of: HGET", "close: HMGET"},
        "reads what it has just written; its first tasks have no counters, and it ends nothing",
    ),
    "stage_run": (set(), ""),
    "claim": (WAKING | {"wait_or_work: ZSCORE"}, "an idle pod is noted last"),
    "commit": (
        WAKING
        | TOLD
        | {"wait_or_work: ZSCORE", "close: HMGET"}
        | {"open_lanes: ZRANGE", "named_lanes: ZMSCORE", "advance: ZRANGE", "open_run: HMGET", "record_of: HGET"},
        "claims what it has made ready: queue entries alone are written before that, and one whose task is not ready is thrown away",
    ),
    "pass_on": (WAKING, ""),
    "sweep": ({"body: ZRANGE"}, "the head of a lane is what is left in it; `lanes` is a hint that claims set right"),
    "heartbeat": (WAKING, ""),
    "reap": (WAKING | TOLD | {"stop_waiting: ZREVRANGE", "body: ZRANGE"}, "wakes pods, and says when to look again"),
    "release": (WAKING | {"body: ZCARD"}, "a pod that leaves signs off where nothing is left in its list"),
    "fire_timers": (WAKING | {"until_the_next: ZRANGE"}, "says when the next timer is due, which it may have set itself"),
    "audit": ({"body: ZRANGE"}, "says when the next run is to be looked at, which it may have put off itself"),
    "restore": (WAKING, ""),
    "repair": (WAKING | TOLD, ""),
    "cancel": (TOLD, ""),
    "begin_effect": (set(), ""),
    "confirm_effect": (set(), ""),
    "heads": (set(), ""),
    "note_waits": (set(), ""),
    "append_log": (set(), ""),
    "rights": (set(), ""),
    "take_token": (set(), ""),
}
"""Script → what it may read after its first write, and why nothing is left half made if that fails: all of it reads keys whose type is
known, and what is read decides about nothing that was written."""

each_script = pytest.mark.parametrize("script", scripts(), ids=lambda script: script.name)


def whole(script: Source) -> str:
    """The script with its parts and all comments."""
    return "\n".join([*((LUA / "lib" / f"{part}.lua").read_text() for part in script.uses), script.path.read_text().split("\n", 1)[1]])


def with_body(body: str) -> Program:
    """A script that uses every part."""
    [commit] = [script for script in scripts() if script.name == "commit"]
    return Program("\n".join([*((LUA / "lib" / f"{part}.lua").read_text() for part in commit.uses), body]))


@each_script
def test_nothing_is_read_or_decided_after_the_first_write_but_what_is_listed_here(script: Source) -> None:
    assert Order(Program(whole(script))).late == LATE[script.name][0]


@each_script
@pytest.mark.parametrize("rule", [foreign_names, unknown_commands, unknown_keys, unbounded], ids=lambda rule: rule.__name__)
def test_a_script_breaks_no_rule(script: Source, rule: Callable[[Program], list[str]]) -> None:
    assert rule(Program(whole(script))) == []


WRITE = "redis.call('ZADD', T .. 'runs', now, 'id')\n"
HALF_MADE = {
    "a read after a write": (WRITE + "local x = redis.call('ZSCORE', T .. 'runs', 'id')", "body: ZSCORE"),
    "a read in a function after a write": (WRITE + "local run = open_run('id')", "open_run: HMGET"),
    "a read after a write in a function": ("write_ready()\nlocal run = open_run('id')", "open_run: HMGET"),
    "a read after a write in one branch": (f"if now > 1 then {WRITE} end\nlocal run = open_run('id')", "open_run: HMGET"),
    "a read after a write in an earlier round": (f"for i = 1, 2 do local run = open_run('id') {WRITE} end", "open_run: HMGET"),
    "a read after a write by a function of a table": (
        f"local fire = {{}}\nfunction fire.x() {WRITE} end\nlocal kind = fire['x']\nkind()\nlocal run = open_run('id')",
        "open_run: HMGET",
    ),
    "an answer that is decided after a write": (WRITE + "if now > 1 then return {'STALE'} end", "body: return"),
    "an answer in a loop after a write": (WRITE + "for i = 1, 2 do if i > 1 then return {'STALE'} end end", "body: return"),
    "an error after a write": (WRITE + "error('no')", "body: error"),
    "an answer unpacked after a write": (WRITE + "local x = cmsgpack.unpack(ARGV[1])", "body: cmsgpack.unpack"),
}


@pytest.mark.parametrize("name", HALF_MADE)
def test_a_script_that_could_stop_half_way_is_found(name: str) -> None:
    body, found = HALF_MADE[name]
    assert found in Order(with_body(body)).late


@pytest.mark.parametrize(
    "body",
    [
        "local run = open_run('id')\nif not run.state then return {'UNKNOWN'} end\nwrite_ready()\nreturn {'OK'}",
        f"local run = open_run('id')\nif not run.state then\n{WRITE}return {{'GONE'}} end\nlocal other = open_run('other')",
        f"if now > 1 then {WRITE} else local run = open_run('id') end",
        f"local function f() {WRITE} end\nlocal run = open_run('id')",
    ],
)
def test_a_script_that_writes_when_it_has_decided_is_not_found(body: str) -> None:
    assert Order(with_body(body)).late == set()


BROKEN: list[tuple[Callable[[Program], list[str]], str]] = [
    (foreign_names, "local x = cjson.decode(ARGV[1])"),
    (foreign_names, "local x = redis.pcall('GET', T .. 'runs')"),
    (foreign_names, "local x = math.random()"),
    (foreign_names, "local x = os.time()"),
    (foreign_names, "local x = io"),
    (foreign_names, "local x = loadstring('')"),
    (foreign_names, "local x = KEYS[2]"),
    (foreign_names, "count = 1"),
    (foreign_names, "local x = string.rep('a', 10)"),
    (foreign_names, "redis.set_repl(0)"),
    (unknown_commands, "local x = redis.call('HGETALL', T .. 'runs')"),
    (unknown_commands, "local x = redis.call('SMEMBERS', T .. 'runs')"),
    (unknown_commands, "local x = redis.call('KEYS', '*')"),
    (unknown_commands, "local x = redis.call('SCAN', 0)"),
    (unknown_commands, "local command = 'GET'\nlocal x = redis.call(command, T .. 'runs')"),
    (unknown_commands, "local later = redis.call('TIME')"),
    (unknown_keys, "local x = redis.call('GET', T .. 'secret:' .. ARGV[1])"),
    (unknown_keys, "local x = redis.call('GET', T .. 'runs')"),
    (unknown_keys, "local x = redis.call('ZCARD', open_run('id').key)"),
    (unknown_keys, "local run = open_run('id')\nredis.call('RPUSH', run.key .. ':tasks', 'x')"),
    (unknown_keys, "local run = open_run('id')\nredis.call('HSET', run.key .. ':other', 'x', 1)"),
    (unknown_keys, "local key = T .. 'lease:' .. ARGV[1]\nredis.call('HSET', key, 'x', 1)"),
    (unknown_keys, "redis.call('GET', ARGV[1])"),
    (unknown_keys, "redis.call('GET', 'lease:' .. ARGV[1])"),
    (unknown_keys, "redis.call('DEL', T .. 'pod:' .. ARGV[1], T .. 'other:' .. ARGV[1])"),
    (unbounded, "while now > 1 do break end"),
    (unbounded, "repeat local x = 1 until now > 1"),
    (unbounded, "for i = 1, tonumber(redis.call('HGET', T .. 'run:x', 'total')) do break end"),
    (unbounded, "for i = 1, open_run('id').total do break end"),
    (unbounded, "for key in redis.call do break end"),
    (unbounded, "local x = redis.call('ZRANGE', T .. 'runs', 0, -1)"),
    (unbounded, "local x = redis.call('LRANGE', T .. 'run:x:events', 0, -1)"),
    (unbounded, "local x = redis.call('LRANGE', T .. 'run:x:events', 0, open_run('id').total)"),
    (unbounded, "local x = redis.call('ZRANGEBYSCORE', T .. 'runs', '-inf', now)"),
    (unbounded, "local x = redis.call('ZRANGEBYSCORE', T .. 'runs', '-inf', now, 'LIMIT', 0, -1)"),
    (unbounded, "local x = redis.call('ZPOPMAX', T .. 'runs', open_run('id').total)"),
    (unbounded, "local function f(n) return f(n - 1) end"),
]


@pytest.mark.parametrize(("rule", "body"), BROKEN, ids=lambda value: value.splitlines()[-1] if isinstance(value, str) else value.__name__)
def test_a_broken_rule_is_found(rule: Callable[[Program], list[str]], body: str) -> None:
    assert rule(with_body(body))


@pytest.mark.parametrize(
    "body",
    [
        "-- bound: once\nwhile now > 1 do break end",
        "local limit = tonumber(ARGV[1])\nfor i = 1, math.min(limit, open_run('id').total) do break end",
        "local function few(n) return redis.call('ZRANGE', T .. 'runs', 0, n - 1) end\nlocal x = few(10)",
    ],
)
def test_a_bound_that_can_be_seen_is_enough(body: str) -> None:
    assert unbounded(with_body(body)) == []


def test_what_is_no_lua_is_refused() -> None:
    with pytest.raises(SyntaxError, match="line 2"):
        Program("local x = 1\nlocal = 2")
